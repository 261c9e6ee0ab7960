//! The consumer of the data topic, against the embedded broker.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use stockpipeline::checked::{Kafka, KafkaAuth, Topic};
use stockpipeline_worker::contact::Contact;
use stockpipeline_worker::embedded::EmbeddedBroker;
use stockpipeline_worker::kafka::{Clients, Identity};
use stockpipeline_worker::source::{Event, Joining, Message, Placement, Signal, Source};

const TOPIC: &str = "ticks";
const WAIT: Duration = Duration::from_millis(50);

struct Reader {
    source: Source,
    offsets: Vec<i64>,
    ended_at: Option<i64>,
}

impl Reader {
    /// Joins, and is given the only partition from its start.
    fn join(broker: &EmbeddedBroker) -> Self {
        let topic = Topic { name: TOPIC.into(), managed: false, partitions: None, replication_factor: None, config: BTreeMap::new() };
        let bootstrap_servers = vec![broker.bootstrap_servers()];
        let kafka = Kafka { bootstrap_servers, auth: KafkaAuth::None, tls: None, topic, consumer_group: "readers".into() };
        let clients = Clients::new(&kafka, Path::new("/nowhere"), Identity::default()).unwrap();
        let source = Source::join(Joining {
            clients: clients.client_config(),
            callbacks: clients.context(),
            topic: TOPIC,
            group: "readers",
            session_timeout: Duration::from_secs(6),
            fetch_ahead_bytes: 1 << 20,
            contact: Arc::new(Contact::new(Duration::from_secs(6))),
        })
        .unwrap();
        let mut reader = Self { source, offsets: Vec::new(), ended_at: None };
        reader.until(|reader| reader.source.poll().iter().any(|event| matches!(event, Event::Assigned(_))));
        reader.source.assign(&[Placement { partition: 0, offset: 0, leader_epoch: None }]).unwrap();
        reader
    }

    fn take(&mut self) {
        self.source.poll();
        let taken = self.source.take(WAIT);
        self.offsets.extend(taken.runs.iter().flat_map(|run| &run.messages).map(Message::offset));
        for signal in taken.signals {
            if let Signal::End { offset, .. } = signal {
                self.ended_at = Some(offset);
            }
        }
    }

    fn until(&mut self, mut condition: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !condition(self) {
            assert!(Instant::now() < deadline, "waited in vain; offsets {:?}", self.offsets);
            self.take();
        }
    }
}

fn produce(producer: &BaseProducer, records: usize) {
    for _ in 0..records {
        let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(TOPIC).partition(0).payload(&b"tick"[..]);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

#[test]
fn a_pause_at_the_end_of_a_partition_skips_no_record() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic(TOPIC, 1).unwrap();
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", broker.bootstrap_servers()).create().unwrap();
    produce(&producer, 3);
    let mut reader = Reader::join(&broker);
    reader.until(|reader| reader.ended_at == Some(3));
    // librdkafka has counted the event of the end as a record.
    reader.source.pause(&[0]);
    produce(&producer, 3);
    reader.source.resume(Placement { partition: 0, offset: 3, leader_epoch: None });
    reader.until(|reader| reader.offsets.len() >= 6);
    assert_eq!(reader.offsets, [0, 1, 2, 3, 4, 5]);
}
