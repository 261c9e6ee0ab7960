//! What the suite's audit log says in the end of every operator that has run. `e2e/run` runs this after everything else.

use std::collections::BTreeMap;

use crate::audit_log::AuditLog;

/// Returns whether a user is an operator of the suite: by its service account's name, or by that of its second.
fn is_an_operator(user: &str) -> bool {
    user.strip_prefix("system:serviceaccount:")
        .and_then(|account| account.split_once(':'))
        .is_some_and(|(_, name)| name.ends_with("stockpipeline-operator") || name == "second")
}

#[test]
#[ignore = "needs the audit log of the whole suite"]
fn no_operator_of_the_suite_was_refused_anything_or_has_asked_for_a_secret() {
    let requests = AuditLog::whole().requests(is_an_operator);
    let mut users: BTreeMap<&str, usize> = BTreeMap::new();
    for request in &requests {
        *users.entry(request.user.as_str()).or_default() += 1;
    }
    assert!(users.len() > 5, "operators of several tests: {users:?}");
    let refused: Vec<_> = requests.iter().filter(|request| request.is_refused).collect();
    assert!(refused.is_empty(), "{refused:?}");
    let secrets: Vec<_> = requests.iter().filter(|request| request.resource.contains("secrets")).collect();
    assert!(secrets.is_empty(), "{secrets:?}");
    eprintln!("{} requests of {} operators, none refused, none about a Secret", requests.len(), users.len());
}
