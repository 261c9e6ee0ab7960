//! What to do about a table's partition indexes: one that is wanted and not there is made. What is there and not wanted stays: nobody says
//! whose it is.

use crate::hash;

/// Longest name that Glue takes for a partition index.
const MAX_NAME: usize = 255;

/// A partition index as Glue has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundIndex {
    /// Name.
    pub name: String,
    /// Partition keys, in order: Glue has no two indexes of the same ones, whatever their names.
    pub keys: Vec<String>,
    /// How far it is.
    pub state: IndexState,
}

/// How far a partition index is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexState {
    /// It is used.
    Active,
    /// Glue makes it from the partitions that are there.
    Creating,
    /// Glue takes it away.
    Deleting,
    /// Glue could not make it: why.
    Failed(String),
}

/// What to do about the partition indexes of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexPlan {
    /// Keys of those that are missing, as they are declared.
    pub missing: Vec<Vec<String>>,
    /// Name of one that Glue is making or taking away: meanwhile it makes no other.
    pub at_work: Option<String>,
    /// Names of wanted ones that Glue could not make, and why.
    pub failed: Vec<(String, String)>,
}

/// Returns what to do about the partition indexes of a table.
#[must_use]
pub fn plan_indexes(wanted: &[Vec<String>], found: &[FoundIndex]) -> IndexPlan {
    let mut plan = IndexPlan::default();
    for keys in wanted {
        match found.iter().find(|index| index.keys == *keys).map(|index| (index, &index.state)) {
            Some((_, IndexState::Active | IndexState::Creating)) => {}
            Some((index, IndexState::Failed(why))) => plan.failed.push((index.name.clone(), why.clone())),
            Some((_, IndexState::Deleting)) | None => plan.missing.push(keys.clone()),
        }
    }
    let at_work = found.iter().find(|index| matches!(index.state, IndexState::Creating | IndexState::Deleting));
    plan.at_work = at_work.map(|index| index.name.clone());
    plan
}

/// Returns the name of an index of some keys.
#[must_use]
pub fn index_name(keys: &[String]) -> String {
    keys.join("_").chars().take(MAX_NAME).collect()
}

/// Returns the hash of the indexes that a table should have.
#[must_use]
pub fn indexes_hash(wanted: &[Vec<String>]) -> String {
    hash::short(&format!("{wanted:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn found(text: &str, state: IndexState) -> FoundIndex {
        FoundIndex { name: format!("by {text}"), keys: keys(text), state }
    }

    #[test]
    fn what_is_missing_is_made_whatever_the_names_and_what_is_not_wanted_stays() {
        let wanted = [keys("dt"), keys("dt symbol"), keys("symbol")];
        let check = |found: &[FoundIndex]| plan_indexes(&wanted, found);
        assert_eq!(check(&[]), IndexPlan { missing: wanted.to_vec(), ..IndexPlan::default() });
        let all = [found("dt", IndexState::Active), found("dt symbol", IndexState::Creating), found("symbol", IndexState::Active)];
        assert_eq!(check(&all), IndexPlan { at_work: Some("by dt symbol".to_owned()), ..IndexPlan::default() });
        let other_order = [found("symbol dt", IndexState::Active), found("dt", IndexState::Deleting), found("symbol", IndexState::Active)];
        assert_eq!(
            check(&other_order),
            IndexPlan { missing: vec![keys("dt"), keys("dt symbol")], at_work: Some("by dt".to_owned()), failed: Vec::new() }
        );
        let failed = [found("dt", IndexState::Failed("ENCRYPTED_PARTITION_ERROR".to_owned()))];
        assert_eq!(check(&failed).failed, [("by dt".to_owned(), "ENCRYPTED_PARTITION_ERROR".to_owned())]);
        assert_eq!(check(&failed).missing, wanted[1..], "one that has failed is in the way of another of its keys");
    }

    #[test]
    fn names_fit_into_glue() {
        assert_eq!(index_name(&keys("dt symbol")), "dt_symbol");
        assert_eq!(index_name(&["k".repeat(200), "l".repeat(200)]).chars().count(), MAX_NAME);
    }
}
