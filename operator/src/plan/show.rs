//! A plan for people: a line an object, a line a field, and one sentence at the end. Colours on a terminal only.

use std::fmt::Write;

use serde_json::Value;

use super::difference::FieldChange;
use super::{Act, ObjectChange, PipelinePlan, Plan};

/// Characters of a value on one line.
const SHOWN_CHARACTERS: usize = 100;
/// Lines of a text that are shown where they differ.
const SHOWN_LINES: usize = 20;

/// Whether the reader sees colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// A terminal.
    Always,
    /// A file or a pipe.
    Never,
}

struct Page {
    text: String,
    colour: Colour,
}

/// Returns the text of a plan.
#[must_use]
pub fn show(plan: &Plan, colour: Colour) -> String {
    let mut page = Page { text: String::new(), colour };
    for pipeline in &plan.pipelines {
        page.pipeline(pipeline);
    }
    let count = |acts: &[Act]| plan.changes().filter(|act| acts.contains(act)).count();
    let (create, change, delete) = (count(&[Act::Create]), count(&[Act::Update, Act::Correct]), count(&[Act::Delete]));
    let problems: usize = plan.pipelines.iter().map(|pipeline| pipeline.problems.len()).sum();
    let sentence = match (create + change + delete, problems) {
        (0, 0) => "Nothing to change.".to_owned(),
        (_, 0) => format!("{create} to create, {change} to change, {delete} to delete. Nothing was written."),
        (_, _) => format!("{problems} in the way. Nothing was written."),
    };
    page.line(0, "", &sentence);
    page.text
}

impl Page {
    fn pipeline(&mut self, plan: &PipelinePlan) {
        let name = format!("{}/{}", plan.namespace, plan.name);
        self.object(0, &plan.resource, &format!("StockPipeline {name}"));
        for (title, changes) in [("cluster", &plan.cluster), ("catalogue", &plan.catalogue)] {
            if changes.is_empty() {
                continue;
            }
            self.line(1, "", &format!("{title}:"));
            for change in changes {
                self.object(2, change, &change.object);
            }
        }
        if let Some(topic) = plan.topic.as_ref().filter(|topic| !topic.fields.is_empty()) {
            self.line(1, "", &format!("topic {}:", topic.name));
            topic.fields.iter().for_each(|field| self.field(2, field));
        }
        for note in &plan.notes {
            self.line(1, "note", note);
        }
        for problem in &plan.problems {
            self.line(1, "!", problem);
        }
        self.text.push('\n');
    }

    fn object(&mut self, depth: usize, change: &ObjectChange, name: &str) {
        let (sign, act) = match change.act {
            Act::None => ("=", "unchanged"),
            Act::Create => ("+", "create"),
            Act::Update => ("~", "update"),
            Act::Correct => ("~", "correct what others have changed"),
            Act::Delete => ("-", "delete"),
            Act::Report => ("=", "differs, and is only reported"),
        };
        let restarts = if change.restarts_pods { ", its pods restart one by one" } else { "" };
        self.line(depth, sign, &format!("{name} ({act}{restarts})"));
        change.fields.iter().for_each(|field| self.field(depth + 2, field));
    }

    fn field(&mut self, depth: usize, field: &FieldChange) {
        match (&field.before, &field.after) {
            (Some(Value::String(before)), Some(Value::String(after))) if before.contains('\n') || after.contains('\n') => {
                self.line(depth, "~", &format!("{}:", field.path));
                self.text_lines(depth + 1, before, after);
            }
            (Some(before), Some(after)) => self.line(depth, "~", &format!("{}: {} -> {}", field.path, shown(before), shown(after))),
            (None, Some(after)) => self.line(depth, "+", &format!("{}: {}", field.path, shown(after))),
            (Some(before), None) => self.line(depth, "-", &format!("{}: {}", field.path, shown(before))),
            (None, None) => {}
        }
    }

    /// Shows the lines between what two texts have in common at their starts and ends.
    fn text_lines(&mut self, depth: usize, before: &str, after: &str) {
        let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
        let start = before.iter().zip(&after).take_while(|(one, other)| one == other).count();
        let (before, after) = (&before[start..], &after[start..]);
        let end = before.iter().rev().zip(after.iter().rev()).take_while(|(one, other)| one == other).count();
        for (sign, lines) in [("-", &before[..before.len() - end]), ("+", &after[..after.len() - end])] {
            for line in lines.iter().take(SHOWN_LINES) {
                self.line(depth, sign, line);
            }
            if lines.len() > SHOWN_LINES {
                self.line(depth, sign, &format!("... {} more lines", lines.len() - SHOWN_LINES));
            }
        }
    }

    fn line(&mut self, depth: usize, sign: &str, text: &str) {
        let code = match (self.colour, sign) {
            (Colour::Always, "+") => "\x1b[32m",
            (Colour::Always, "~") => "\x1b[33m",
            (Colour::Always, "-" | "!") => "\x1b[31m",
            (Colour::Always | Colour::Never, _) => "",
        };
        let end = if code.is_empty() { "" } else { "\x1b[0m" };
        let space = if sign.is_empty() { "" } else { " " };
        let written = writeln!(self.text, "{code}{:indent$}{sign}{space}{text}{end}", "", indent = 2 * depth);
        debug_assert!(written.is_ok(), "a String takes everything that is written to it");
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
