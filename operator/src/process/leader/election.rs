//! What a look at the lease means: pure, so that every case can be tried.
//!
//! Times that stand in a lease are another machine's and are only shown. What counts is how long this process has seen the lease unchanged.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

/// Seconds that a released lease is still said to last: zero is refused by the API server.
const RELEASED_SECONDS: i32 = 1;

/// Who competes for a lease, and for how long it is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Name of the lease.
    pub lease: String,
    /// Name of this process, which no other has.
    pub identity: String,
    /// How long others wait for a holder who does not renew.
    pub duration: Duration,
}

/// What to do about the lease.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// There is none: make this one.
    Create(Box<Lease>),
    /// Nobody holds it: write this one over it.
    Take(Box<Lease>),
    /// Somebody holds it; it may be free after this time, if nothing is heard of him.
    Wait(Duration),
}

/// The lease as this process last saw it change.
#[derive(Debug, Default)]
pub(super) struct Sight {
    version: Option<String>,
    since_millis: u64,
}

impl Sight {
    /// Returns what to do about a lease that was read at `read_millis` on a clock that never stops.
    pub(super) fn judge(&mut self, candidate: &Candidate, found: Option<Lease>, read_millis: u64, now: Timestamp) -> Step {
        let Some(lease) = found else { return Step::Create(Box::new(candidate.new_lease(now))) };
        if holder(&lease).is_none() {
            return Step::Take(Box::new(candidate.taken(lease, now)));
        }
        if self.version != lease.metadata.resource_version {
            self.version.clone_from(&lease.metadata.resource_version);
            self.since_millis = read_millis;
        }
        let seen = Duration::from_millis(read_millis.saturating_sub(self.since_millis));
        match declared_duration(&lease).max(candidate.duration).checked_sub(seen) {
            Some(left) if !left.is_zero() => Step::Wait(left),
            Some(_) | None => Step::Take(Box::new(candidate.taken(lease, now))),
        }
    }
}

impl Candidate {
    /// Returns whether a lease is held by this process.
    pub(super) fn holds(&self, lease: &Lease) -> bool {
        holder(lease) == Some(self.identity.as_str())
    }

    fn new_lease(&self, now: Timestamp) -> Lease {
        Lease {
            metadata: ObjectMeta { name: Some(self.lease.clone()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec { lease_transitions: Some(0), ..self.spec(now) }),
        }
    }

    /// Everything that others keep in the object stays; the resource version makes sure that nobody was faster.
    fn taken(&self, mut lease: Lease, now: Timestamp) -> Lease {
        let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
        let spec = lease.spec.get_or_insert_default();
        let LeaseSpec { preferred_holder, strategy, .. } = std::mem::take(spec);
        *spec = LeaseSpec { lease_transitions: Some(transitions.saturating_add(1)), preferred_holder, strategy, ..self.spec(now) };
        lease
    }

    fn spec(&self, now: Timestamp) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(self.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }
    }
}

/// Returns a lease with a new time of renewal.
pub(super) fn renewed(mut lease: Lease, now: Timestamp) -> Lease {
    lease.spec.get_or_insert_default().renew_time = Some(MicroTime(now));
    lease
}

/// Returns a lease that nobody holds.
pub(super) fn released(mut lease: Lease, now: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(RELEASED_SECONDS);
    spec.renew_time = Some(MicroTime(now));
    lease
}

/// Returns whether one lease is an earlier version of the other: versions of one object only ever grow.
pub(super) fn is_older(lease: &Lease, than: &Lease) -> bool {
    let version = |lease: &Lease| lease.metadata.resource_version.as_ref().and_then(|version| version.parse::<u64>().ok());
    version(lease).zip(version(than)).is_some_and(|(version, than)| version < than)
}

/// Returns who holds a lease.
pub(super) fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|identity| !identity.is_empty())
}

fn declared_duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate() -> Candidate {
        Candidate { lease: "operator".to_owned(), identity: "us".to_owned(), duration: Duration::from_secs(15) }
    }

    fn lease(holder: &str, version: &str, seconds: i32) -> Lease {
        let mut lease = candidate().new_lease(Timestamp::UNIX_EPOCH);
        lease.metadata.resource_version = Some(version.to_owned());
        let spec = lease.spec.as_mut().unwrap();
        spec.holder_identity = Some(holder.to_owned());
        spec.lease_duration_seconds = Some(seconds);
        spec.lease_transitions = Some(4);
        lease
    }

    /// Looks at leases one after the other, at these milliseconds, and returns the last verdict.
    fn judge(looks: &[(u64, Option<Lease>)]) -> &'static str {
        let mut sight = Sight::default();
        let steps = looks.iter().map(|(millis, lease)| sight.judge(&candidate(), lease.clone(), *millis, Timestamp::UNIX_EPOCH));
        match steps.last().unwrap() {
            Step::Create(_) => "create",
            Step::Take(_) => "take",
            Step::Wait(_) => "wait",
        }
    }

    #[test]
    fn a_lease_is_taken_only_when_it_is_free_or_was_seen_unchanged_for_its_whole_duration() {
        let held = |version: &str| Some(lease("them", version, 15));
        for (looks, expected) in [
            (vec![(0, None)], "create"),
            (vec![(0, Some(lease("", "1", 1)))], "take"),
            (vec![(1_000_000, held("1"))], "wait"),
            (vec![(0, held("1")), (14_999, held("1"))], "wait"),
            (vec![(0, held("1")), (15_000, held("1"))], "take"),
            (vec![(0, held("1")), (14_000, held("2")), (28_000, held("2"))], "wait"),
            (vec![(0, held("1")), (14_000, held("2")), (29_000, held("2"))], "take"),
            (vec![(0, Some(lease("them", "1", 60))), (59_000, Some(lease("them", "1", 60)))], "wait"),
            (vec![(0, Some(lease("them", "1", 1))), (14_000, Some(lease("them", "1", 1)))], "wait"),
        ] {
            assert_eq!(judge(&looks), expected, "{looks:?}");
        }
    }

    #[test]
    fn only_a_version_that_is_smaller_is_older() {
        let of = |version: &str| Lease {
            metadata: ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() },
            spec: None,
        };
        for (version, than, expected) in [("9", "10", true), ("10", "9", false), ("10", "10", false), ("", "10", false), ("a", "b", false)]
        {
            assert_eq!(is_older(&of(version), &of(than)), expected, "{version} {than}");
        }
    }

    #[test]
    fn a_taken_lease_names_its_version_and_counts_the_change() {
        let mut found = lease("", "7", 1);
        found.metadata.labels = Some([("kept".to_owned(), "yes".to_owned())].into());
        let Step::Take(taken) = Sight::default().judge(&candidate(), Some(found.clone()), 0, Timestamp::UNIX_EPOCH) else { panic!() };
        assert_eq!(taken.metadata, found.metadata);
        assert!(candidate().holds(&taken));
        assert_eq!(taken.spec.as_ref().unwrap().lease_transitions, Some(5));
        assert_eq!(holder(&released(*taken, Timestamp::UNIX_EPOCH)), None);
    }
}
