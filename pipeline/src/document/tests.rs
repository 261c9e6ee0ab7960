use std::fmt::Write as _;

use super::*;

const MINIMAL: &str = "apiVersion: stockpipeline.dev/v1alpha1\nkind: StockPipeline\nmetadata: {name: a}\nspec: {x: 1}\n";

fn refuse(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn reads_every_pipeline_of_a_file_and_skips_the_rest() {
    let text = format!(
        "---\n{MINIMAL}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\n---\n---\n{}",
        MINIMAL.replace("name: a", "name: b")
    );
    let names: Vec<String> = read(&text).unwrap().iter().map(|document| document.name().unwrap().to_owned()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn reads_the_items_of_a_list() {
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [Document::new("a", None, Value::Null).body()]});
    assert_eq!(read(&list.to_string()).unwrap().len(), 1);
}

#[test]
fn reads_what_it_wrote() {
    let spec = serde_json::json!({"texts": ["no", "1", "1.5", "null", "~", "a\nb", "\u{7f}\u{85}\u{feff}", "", " x ", "é'\"", "0x1f", "2024-01-02"], "n": [1, -1, 1.5, u64::MAX, true, null]});
    let document = Document::new("a", Some("b"), spec);
    assert_eq!(read(&document.to_yaml()).unwrap(), vec![document]);
}

#[test]
fn opens_anchors_and_merge_keys() {
    let text = format!("{MINIMAL}  base: &base {{y: 2}}\n").replace("spec: {x: 1}\n", "spec:\n") + "  other:\n    <<: *base\n    z: 3\n";
    let body = read(&text).unwrap()[0].body().clone();
    assert_eq!(body["spec"]["other"], serde_json::json!({"z": 3, "y": 2}));
}

#[test]
fn ignores_a_byte_order_mark_and_windows_line_ends() {
    assert_eq!(read(&format!("\u{feff}{}", MINIMAL.replace('\n', "\r\n"))).unwrap()[0].name(), Some("a"));
}

#[test]
fn says_what_is_no_pipeline() {
    let cases = [
        ("", "the file holds no StockPipeline; start it with apiVersion: stockpipeline.dev/v1alpha1 and kind: StockPipeline"),
        (
            "apiVersion: v1\nkind: ConfigMap",
            "the file holds no StockPipeline; start it with apiVersion: stockpipeline.dev/v1alpha1 and kind: StockPipeline",
        ),
        ("- a", "document 1: document: is not an object; indent the fields of a StockPipeline under their names"),
        (
            "apiVersion: stockpipeline.dev/v1\nkind: StockPipeline",
            "document 1: apiVersion is stockpipeline.dev/v1 and kind is StockPipeline; write apiVersion: stockpipeline.dev/v1alpha1 and kind: StockPipeline",
        ),
        (
            "spec: {}",
            "document 1: apiVersion is missing and kind is missing; write apiVersion: stockpipeline.dev/v1alpha1 and kind: StockPipeline",
        ),
        (
            "a: [1",
            "document 1: not YAML: did not find expected ',' or ']' at line 2 column 1, while parsing a flow sequence at line 1 column 4",
        ),
        (
            "a: 1\n\tb: 2",
            "document 1: not YAML: found a tab character that violates indentation at line 2 column 1, while scanning a plain scalar at line 1 column 4",
        ),
        ("a: 1\na: 2", "document 1: not YAML: duplicate entry with key \"a\" at line 1 column 1"),
        ("a: .nan", "document 1: document.a: .nan is no number that JSON can hold; write a finite number, or quote it"),
        ("a: !Ref b", "document 1: document.a: the YAML tag !Ref has no meaning here; remove it, or quote the text"),
        ("? [1]\n: 2", "document 1: document: holds a key that is not text; quote the key"),
        ("1: a\n\"1\": b", "document 1: document: the key 1 stands twice; remove one"),
        (
            "a: @b",
            "document 1: not YAML: found character that cannot start any token at line 1 column 4, while scanning for the next token; indent with spaces, not tabs, and quote texts that start with @, ` or %",
        ),
        ("a: *b", "document 1: not YAML: unknown anchor at line 1 column 4"),
    ];
    for (text, expected) in cases {
        assert_eq!(refuse(text), expected, "{text}");
    }
}

#[test]
fn large_and_bottomless_files_are_refused() {
    assert_eq!(read(&" ".repeat(MAX_BYTES + 1)), Err(DocumentError::TooLarge { bytes: MAX_BYTES + 1 }));
    assert_eq!(
        read(&"---\na: 1\n".repeat(MAX_DOCUMENTS + 1)).unwrap_err().to_string().split(';').next(),
        Some("document 1: apiVersion is missing and kind is missing")
    );
    let foreign = "---\napiVersion: v1\nkind: ConfigMap\n".repeat(MAX_DOCUMENTS + 1);
    assert_eq!(read(&foreign), Err(DocumentError::TooMany));
    assert!(refuse(&"[".repeat(1_000)).contains("recursion limit"));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let inner = format!("*a{}", level - 1);
        writeln!(bomb, "a{level}: &a{level} [{}]", [inner.as_str(); 9].join(", ")).unwrap();
    }
    assert!(refuse(&bomb).contains("repetition limit"));
}
