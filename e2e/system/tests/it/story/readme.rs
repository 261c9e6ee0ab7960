//! The commands of a section of the README.

use stockpipeline_e2e::stage::repository;

/// Returns the commands of a section, in order: its indented lines, each with the lines that continue it.
///
/// # Panics
/// When there is no such section, or no command in it.
pub(super) fn commands(section: &str) -> Vec<String> {
    let path = repository().join("README.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let found = commands_of(&text, section);
    assert!(!found.is_empty(), "README.md has no commands under {section}");
    found
}

fn commands_of(text: &str, section: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| *line != section).skip(1).take_while(|line| !line.starts_with("## "));
    let mut commands: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in lines.filter_map(|line| line.strip_prefix("    ")) {
        let (line, continues) = line.strip_suffix('\\').map_or((line, false), |start| (start, true));
        match commands.last_mut().filter(|_| goes_on) {
            Some(command) => command.push_str(line.trim_start()),
            None => commands.push(line.to_owned()),
        }
        goes_on = continues;
    }
    commands
}

#[test]
fn indented_lines_of_a_section_are_its_commands() {
    let text = "# x\n\n    before\n\n## Here\n\nwords\n\n    one \\\n      two\n    three\n\n```\noutput\n```\n\n## There\n\n    after\n";
    assert_eq!(commands_of(text, "## Here"), ["one two", "three"]);
}
