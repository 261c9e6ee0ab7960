//! Feeds the rows of the assigned slots into Kafka, exactly once where the broker has transactions.
