//! What the Dockerfile copies, beside what cargo needs, and by which compiler it builds.

use crate::chart::repository;

fn read(name: &str) -> String {
    std::fs::read_to_string(repository(name)).unwrap()
}

#[test]
fn the_compiler_is_the_one_of_the_toolchain_file() {
    let (toolchain, dockerfile) = (read("rust-toolchain.toml"), read("Dockerfile"));
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    // The file itself stays outside: its components would be fetched for nothing.
    assert!(dockerfile.lines().any(|line| line == format!("FROM rust:{channel}-bookworm AS build")), "{channel}");
}

#[test]
fn every_member_of_the_workspace_is_copied() {
    let (manifest, dockerfile, kept) = (read("Cargo.toml"), read("Dockerfile"), read(".dockerignore"));
    let (_, members) = manifest.split_once("members = [").unwrap();
    let (members, _) = members.split_once(']').unwrap();
    let members: Vec<&str> = members.split(',').map(|member| member.trim().trim_matches('"')).filter(|member| !member.is_empty()).collect();
    assert!(members.contains(&"operator") && members.contains(&"worker"), "{members:?}");
    for member in members {
        assert!(dockerfile.lines().any(|line| line == format!("COPY {member} {member}")), "the Dockerfile does not copy {member}");
        assert!(kept.lines().any(|line| line == format!("!{member}")), ".dockerignore leaves {member} out");
    }
}
