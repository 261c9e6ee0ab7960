//! How much memory this process may use, and has used.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// Version 1 writes "no limit" as the largest page-aligned number; no machine has this much.
const UNLIMITED: u64 = 1 << 60;

/// Returns the memory limit of this process's control group, the lowest of it and its parents; None without one.
///
/// `root` is `/`, or a copy of its `proc` and `sys` in a test. Versions 1 and 2 are read; inside a container the group's
/// path is often the host's and not there, then the limit stands at the root of the mount.
#[must_use]
pub fn limit_bytes(root: &Path) -> Option<u64> {
    let groups = read_to_string(root.join("proc/self/cgroup")).ok()?;
    groups.lines().filter_map(|line| lowest_limit(root, line)).min()
}

/// Reads a line such as `4:memory:/pod/a` (version 1) or `0::/pod/a` (version 2).
fn lowest_limit(root: &Path, line: &str) -> Option<u64> {
    let (_hierarchy, rest) = line.split_once(':')?;
    let (controllers, group) = rest.split_once(':')?;
    let (mount, file) = if controllers.is_empty() {
        (root.join("sys/fs/cgroup"), "memory.max")
    } else if controllers.split(',').any(|controller| controller == "memory") {
        (root.join("sys/fs/cgroup/memory"), "memory.limit_in_bytes")
    } else {
        return None;
    };
    let group = Path::new(group.trim_start_matches('/'));
    group.ancestors().filter_map(|ancestor| limit_in(&mount.join(ancestor).join(file))).min()
}

fn limit_in(file: &PathBuf) -> Option<u64> {
    let limit = read_to_string(file).ok()?.trim().parse().ok()?;
    (limit < UNLIMITED).then_some(limit)
}

/// Returns the memory of the machine, from `proc/meminfo`.
#[must_use]
pub fn machine_bytes(root: &Path) -> Option<u64> {
    kibibytes(&read_to_string(root.join("proc/meminfo")).ok()?, "MemTotal:")
}

/// Returns the largest resident set that this process has had, from `proc/self/status`.
#[must_use]
pub fn peak_bytes(root: &Path) -> Option<u64> {
    kibibytes(&read_to_string(root.join("proc/self/status")).ok()?, "VmHWM:")
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a root with the given files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn limit_is_the_lowest_of_the_group_and_its_parents() {
        type Files = &'static [(&'static str, &'static str)];
        let cases: [(&str, Files, Option<u64>); 8] = [
            ("version 2", &[("proc/self/cgroup", "0::/pod/a\n"), ("sys/fs/cgroup/pod/a/memory.max", "1024\n")], Some(1024)),
            (
                "version 2, the parent is lower",
                &[
                    ("proc/self/cgroup", "0::/pod/a\n"),
                    ("sys/fs/cgroup/pod/a/memory.max", "max\n"),
                    ("sys/fs/cgroup/pod/memory.max", "512\n"),
                ],
                Some(512),
            ),
            ("version 2, without a limit", &[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "max\n")], None),
            (
                "version 1",
                &[("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/pod\n"), ("sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "2048\n")],
                Some(2048),
            ),
            (
                "version 1, in a container that sees the host's path",
                &[("proc/self/cgroup", "4:memory:/kubepods/pod1/c\n0::/\n"), ("sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n")],
                Some(4096),
            ),
            (
                "version 1, without a limit",
                &[("proc/self/cgroup", "4:memory:/\n"), ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")],
                None,
            ),
            ("nothing to read", &[], None),
            ("garbage", &[("proc/self/cgroup", "\n::\nmemory\n0::/a\n"), ("sys/fs/cgroup/a/memory.max", "a lot\n")], None),
        ];
        for (name, files, expected) in cases {
            assert_eq!(limit_bytes(root(files).path()), expected, "{name}");
        }
    }

    #[test]
    fn this_process_has_a_size() {
        let peak = peak_bytes(Path::new("/")).unwrap();
        let machine = machine_bytes(Path::new("/")).unwrap();
        assert!(peak > 100_000 && peak < machine, "{peak} of {machine}");
    }
}
