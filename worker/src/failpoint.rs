//! Crash points for tests: the process ends, freezes or leaves at the nth time that it comes to a named place.
//!
//! Compiled into debug builds only; in a release build [`Failpoints`] is an empty type and [`Failpoints::hit`] nothing.
//! A value that is passed down, never a global; only `main` reads it from the environment.

use std::fmt;

/// A place in the code where a test may end the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// A range is sealed; its plan has not been asked for.
    BeforePlan,
    /// The plan's PUT is answered; nothing of its data is stored.
    PlanStored,
    /// A plan of another worker, or of a lost reply, was read and adopted.
    PlanAdopted,
    /// An unfinished plan was found on assignment and is about to be executed from Kafka.
    BeforeReplay,
    /// One object of a plan is stored; hit once for each.
    ObjectStored,
    /// All objects of a plan are stored; the group's offset is not.
    AllObjectsStored,
    /// The group's offset is sent; the reply is not read.
    CommitSent,
    /// The group's offset is committed; the next plan may be written.
    Committed,
    /// Kafka takes partitions away; nothing has been sealed for that.
    InRevoke,
    /// What was revoked is written; the partitions are not yet given back.
    RevokeWritten,
    /// The worker was asked to stop and begins to drain.
    Draining,
    /// A clean-up is about to delete plans.
    BeforeCleanUp,
    /// The producer has taken rows from its source; none of them is in a transaction.
    RecordsTaken,
    /// A transaction holds rows; its offsets are not in it.
    TransactionOpen,
    /// A transaction holds rows, progress and offsets; its commit has not been asked for.
    TransactionCommitting,
    /// A transaction is committed; the producer does not know it yet.
    TransactionCommitted,
}

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `kill`: SIGKILL to this process.
    Kill,
    /// `stop`: SIGSTOP to this process, until somebody sends SIGCONT.
    Stop,
    /// `exit`: leaves with [`EXIT_CODE`], without any destructor.
    Exit,
}

/// Exit code of [`Action::Exit`]: none that a worker ends with by itself.
pub const EXIT_CODE: i32 = 99;

/// A text that names no crash points.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FailpointError {
    /// A release build has none.
    #[error("failpoints {text:?} are set, but this build has none; unset them or use a debug build")]
    NotCompiled {
        /// The whole text.
        text: String,
    },
    /// One of the points can't be read.
    #[error("failpoint {part:?} is not POINT:HIT:ACTION, such as plan-stored:2:kill ({expected})")]
    Unreadable {
        /// The point's text.
        part: String,
        /// What was expected instead.
        expected: &'static str,
    },
}

impl Point {
    /// Every point.
    pub const ALL: [Self; 16] = [
        Self::BeforePlan,
        Self::PlanStored,
        Self::PlanAdopted,
        Self::BeforeReplay,
        Self::ObjectStored,
        Self::AllObjectsStored,
        Self::CommitSent,
        Self::Committed,
        Self::InRevoke,
        Self::RevokeWritten,
        Self::Draining,
        Self::BeforeCleanUp,
        Self::RecordsTaken,
        Self::TransactionOpen,
        Self::TransactionCommitting,
        Self::TransactionCommitted,
    ];

    /// Returns the name used in a text of failpoints.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforePlan => "before-plan",
            Self::PlanStored => "plan-stored",
            Self::PlanAdopted => "plan-adopted",
            Self::BeforeReplay => "before-replay",
            Self::ObjectStored => "object-stored",
            Self::AllObjectsStored => "all-objects-stored",
            Self::CommitSent => "commit-sent",
            Self::Committed => "committed",
            Self::InRevoke => "in-revoke",
            Self::RevokeWritten => "revoke-written",
            Self::Draining => "draining",
            Self::BeforeCleanUp => "before-clean-up",
            Self::RecordsTaken => "records-taken",
            Self::TransactionOpen => "transaction-open",
            Self::TransactionCommitting => "transaction-committing",
            Self::TransactionCommitted => "transaction-committed",
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(debug_assertions)]
pub use armed::Failpoints;
#[cfg(not(debug_assertions))]
pub use unarmed::Failpoints;

#[cfg(debug_assertions)]
mod armed {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Signal, getpid, kill_process};
    use tracing::error;

    use super::{Action, EXIT_CODE, FailpointError, Point};

    /// The crash points of a process; clones count together. The default has none.
    #[derive(Debug, Clone, Default)]
    pub struct Failpoints {
        armed: Arc<[Armed]>,
    }

    #[derive(Debug)]
    struct Armed {
        point: Point,
        hits_left: AtomicU32,
        action: Action,
    }

    impl Failpoints {
        /// Returns the points of a text: `POINT:HIT:ACTION`, several with commas between; none for an empty text.
        ///
        /// # Errors
        /// [`FailpointError::Unreadable`] for a part that is none.
        pub fn from_text(text: &str) -> Result<Self, FailpointError> {
            let parts = text.split(',').filter(|part| !part.is_empty());
            Ok(Self { armed: parts.map(parse).collect::<Result<_, _>>()? })
        }

        /// Notes that the process has come to a point, and acts if this is the hit that a test waits for.
        pub fn hit(&self, point: Point) {
            if let Some(action) = self.count(point) {
                act(point, action);
            }
        }

        /// Counts a hit of a point and returns what is due.
        pub(super) fn count(&self, point: Point) -> Option<Action> {
            let due = |armed: &&Armed| armed.point == point && armed.hits_left.fetch_sub(1, Ordering::AcqRel) == 1;
            self.armed.iter().find(due).map(|armed| armed.action)
        }
    }

    fn parse(part: &str) -> Result<Armed, FailpointError> {
        let unreadable = |expected| FailpointError::Unreadable { part: part.to_owned(), expected };
        let mut fields = part.split(':');
        let (Some(name), Some(hit), Some(action), None) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
            return Err(unreadable("three fields"));
        };
        let point = Point::ALL.into_iter().find(|point| point.name() == name).ok_or(unreadable("the name of a point"))?;
        let hit: u32 = hit.parse().ok().filter(|&hit| hit > 0).ok_or(unreadable("a hit of 1 or more"))?;
        let action = match action {
            "kill" => Action::Kill,
            "stop" => Action::Stop,
            "exit" => Action::Exit,
            _ => return Err(unreadable("kill, stop or exit")),
        };
        Ok(Armed { point, hits_left: AtomicU32::new(hit), action })
    }

    fn act(point: Point, action: Action) {
        error!(%point, ?action, "failpoint");
        match action {
            Action::Kill => kill_process(getpid(), Signal::KILL).expect("a process may signal itself"),
            Action::Stop => kill_process(getpid(), Signal::STOP).expect("a process may signal itself"),
            Action::Exit => std::process::exit(EXIT_CODE),
        }
    }
}

#[cfg(any(test, not(debug_assertions)))]
#[cfg_attr(test, allow(unreachable_pub, reason = "a test build exports the other one"))]
mod unarmed {
    use super::{FailpointError, Point};

    /// No crash points: this is a release build.
    #[derive(Debug, Clone, Copy, Default)]
    pub struct Failpoints;

    impl Failpoints {
        /// Returns no points for an empty text.
        ///
        /// # Errors
        /// [`FailpointError::NotCompiled`] for any other.
        pub fn from_text(text: &str) -> Result<Self, FailpointError> {
            if text.is_empty() { Ok(Self) } else { Err(FailpointError::NotCompiled { text: text.to_owned() }) }
        }

        /// Does nothing.
        #[inline]
        #[expect(clippy::unused_self, clippy::trivially_copy_pass_by_ref, reason = "as in a debug build")]
        pub fn hit(&self, _point: Point) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_named_once_and_act_at_their_hit_only() {
        for point in Point::ALL {
            let points = armed::Failpoints::from_text(&format!("{point}:2:stop")).unwrap();
            let counted: Vec<_> = (0..4).map(|_| points.clone().count(point)).collect();
            assert_eq!(counted, [None, Some(Action::Stop), None, None], "{point}");
        }
    }

    #[test]
    fn several_points_count_on_their_own() {
        let points = armed::Failpoints::from_text("plan-stored:1:kill,commit-sent:1:exit").unwrap();
        assert_eq!(points.count(Point::BeforePlan), None);
        assert_eq!(points.count(Point::CommitSent), Some(Action::Exit));
        assert_eq!(points.count(Point::PlanStored), Some(Action::Kill));
    }

    #[test]
    fn unreadable_text_is_refused() {
        let cases =
            ["plan-stored", "plan-stored:1", "plan-stored:0:kill", "plan-stored:x:kill", "plan-stored:1:die", "plan:1:kill", "a:1:kill:b"];
        for text in cases {
            assert!(matches!(armed::Failpoints::from_text(text), Err(FailpointError::Unreadable { .. })), "{text}");
        }
    }

    #[test]
    fn release_build_refuses_points_and_ignores_hits() {
        assert_eq!(size_of::<unarmed::Failpoints>(), 0);
        unarmed::Failpoints::from_text("").unwrap().hit(Point::PlanStored);
        let text = "plan-stored:1:kill".to_owned();
        assert_eq!(unarmed::Failpoints::from_text(&text).unwrap_err(), FailpointError::NotCompiled { text });
    }
}
