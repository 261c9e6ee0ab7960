use super::*;

fn wanted(config: &BTreeMap<String, String>) -> Wanted<'_> {
    Wanted { name: "t", is_managed: true, partitions: Some(4), replication_factor: None, config, partitions_are_fixed: false }
}

fn found(partitions: i32, replication_factor: i32) -> TopicDescription {
    TopicDescription { topic_id: Some("id".to_owned()), partitions, replication_factor }
}

fn texts(texts: &[(&str, &str)]) -> BTreeMap<String, String> {
    texts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn verdict_follows_from_partitions_replicas_and_configs() {
    let none = BTreeMap::new();
    let drift = [TopicDifference { name: "retention.ms".to_owned(), desired: "1".to_owned(), actual: "2".to_owned() }];
    let policy =
        |actual: &str| [TopicDifference { name: CLEANUP_POLICY.to_owned(), desired: "compact".to_owned(), actual: actual.to_owned() }];
    let (deleted, both, unknown) = (policy("delete"), policy("compact,delete"), policy(""));
    let observed = |wanted| Wanted { is_managed: false, ..wanted };
    let fixed = |wanted| Wanted { partitions_are_fixed: true, ..wanted };
    let replicated = |wanted| Wanted { replication_factor: Some(3), ..wanted };
    let cases: Vec<(Wanted<'_>, TopicDescription, &[TopicDifference], TopicState)> = vec![
        (wanted(&none), found(4, 1), &[], TopicState::InSync),
        (wanted(&none), found(4, 1), &drift, TopicState::ConfigDrift),
        (wanted(&none), found(5, 1), &[], TopicState::PartitionMismatch),
        (wanted(&none), found(3, 1), &[], TopicState::PartitionMismatch),
        (replicated(wanted(&none)), found(4, 1), &[], TopicState::PartitionMismatch),
        (replicated(wanted(&none)), found(4, 3), &[], TopicState::InSync),
        (observed(wanted(&none)), found(9, 1), &drift, TopicState::Observed),
        (fixed(observed(wanted(&none))), found(9, 1), &[], TopicState::PartitionMismatch),
        (fixed(observed(wanted(&none))), found(4, 1), &drift, TopicState::Observed),
        (fixed(observed(wanted(&none))), found(4, 1), &deleted, TopicState::ConfigDrift),
        (fixed(observed(wanted(&none))), found(4, 1), &both, TopicState::ConfigDrift),
        (fixed(observed(wanted(&none))), found(4, 1), &unknown, TopicState::Observed),
        (observed(wanted(&none)), found(4, 1), &deleted, TopicState::Observed),
    ];
    for (wanted, found, differ, expected) in cases {
        let (state, message) = judge(&wanted, &found, differ, "");
        assert_eq!(state, expected, "{found:?}");
        assert_eq!(message.is_empty(), matches!(expected, TopicState::InSync | TopicState::Observed), "{message}");
    }
}

#[test]
fn only_wanted_configs_can_differ() {
    let actual = [("a", "1"), ("b", "2"), ("foreign", "9")];
    let actual: Vec<ConfigValue> =
        actual.iter().map(|(name, value)| ConfigValue { name: (*name).to_owned(), value: (*value).to_owned() }).collect();
    let differ = differences(&texts(&[("a", "1"), ("b", "3"), ("c", "4")]), &actual);
    let names: Vec<(&str, &str)> = differ.iter().map(|it| (it.name.as_str(), it.actual.as_str())).collect();
    assert_eq!(names, [("b", "2"), ("c", "")]);
}

#[test]
fn trouble_of_the_slots_topic_shows_in_the_report() {
    let none = BTreeMap::new();
    let fine = report_of(&wanted(&none), Some(&found(4, 1)), Vec::new(), (TopicState::InSync, String::new()));
    let broken = report_of(&wanted(&none), None, Vec::new(), (TopicState::AuthFailed, "no".to_owned()));
    assert!(is_usable(&fine) && !is_usable(&broken));
    let combined = combine(fine.clone(), &TopicReport { name: "t.slots".to_owned(), ..broken.clone() });
    assert_eq!(
        (combined.state, combined.message.as_str(), combined.partitions),
        (TopicState::AuthFailed, "slots topic t.slots: no", Some(4))
    );
    assert_eq!(combine(fine.clone(), &fine), fine);
    assert_eq!(combine(broken.clone(), &fine), broken);
}

#[test]
fn a_broker_that_does_not_know_a_new_topic_yet_is_not_unreachable() {
    let none = BTreeMap::new();
    let observed = Wanted { is_managed: false, ..wanted(&none) };
    let refused = |code: RDKafkaErrorCode| KafkaError::Refused {
        act: "describe configs of topic",
        target: "t".to_owned(),
        code,
        message: code.to_string(),
    };
    for (wanted, code, expected) in [
        (wanted(&none), RDKafkaErrorCode::UnknownTopicOrPartition, TopicState::Creating),
        (observed, RDKafkaErrorCode::UnknownTopicOrPartition, TopicState::BrokerUnreachable),
        (wanted(&none), RDKafkaErrorCode::NotEnoughReplicas, TopicState::BrokerUnreachable),
    ] {
        let report = failed(&wanted, Some(&found(4, 3)), &refused(code));
        assert_eq!(report.state, expected, "{}: {}", report.message, wanted.is_managed);
    }
}
