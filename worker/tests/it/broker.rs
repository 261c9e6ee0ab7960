//! The broker of `e2e/kafka`, and that its two listeners are what the tests take them for.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

const DEADLINE: Duration = Duration::from_secs(20);

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run e2e/run"))
}

fn brokers(config: &ClientConfig) -> usize {
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.fetch_metadata(None, DEADLINE).unwrap().brokers().len()
}

#[test]
#[ignore = "needs a real broker; run e2e/run"]
fn real_broker_answers_in_plain_text() {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", variable("KAFKA_BOOTSTRAP_SERVERS"));
    assert!(brokers(&config) >= 1);
}

#[test]
#[ignore = "needs a real broker; run e2e/run"]
fn real_broker_answers_over_tls_with_a_password() {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", variable("KAFKA_SASL_SSL_BOOTSTRAP_SERVERS"))
        .set("security.protocol", "SASL_SSL")
        .set("ssl.ca.location", variable("KAFKA_SSL_CA"))
        .set("sasl.mechanism", "SCRAM-SHA-256")
        .set("sasl.username", variable("KAFKA_SASL_USERNAME"))
        .set("sasl.password", variable("KAFKA_SASL_PASSWORD"));
    assert!(brokers(&config) >= 1);
}
