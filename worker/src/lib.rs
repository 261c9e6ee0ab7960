//! The worker of StockPipeline: producer and sink of one pipeline, and the commands around them.
//!
//! | module | what it does |
//! |---|---|
//! | [`feed`] | rows of a source: CSV, synthetic |
//! | [`progress`] | how far production and delivery have come |
//! | [`producer`] | feeds the rows of the assigned slots into Kafka |
//! | [`slots`] | the group protocol of the slots and their progress records |
//! | [`kafka`] | client settings, authentication, topic id |
//! | [`topic`] | makes and keeps the topics |
//! | [`source`] | takes records from Kafka in batches; the only consumer of the data topic |
//! | [`contact`] | when a broker was last heard from |
//! | `dial` | which machines the clients of files, S3 and Glue connect to |
//! | [`record`] | one Kafka record, borrowed |
//! | [`decode`] | JSON text to typed values (pure) |
//! | [`batch`] | buffers records of one Kafka partition, compacted (pure) |
//! | [`encode`] | buffered rows to the bytes of objects (pure) |
//! | [`pieces`] | the bytes of an object, as they were written |
//! | [`ledger`] | the plans in S3 |
//! | [`store`] | S3: conditional writes, retries, error classes |
//! | [`partitions`] | Hive partitions in Glue: registered before their first object lands, and audited |
//! | [`sink`] | the one loop that owns all state of a sink |
//! | [`command`] | the commands of the binary |
//! | [`local`] | the whole data path in one process |
//! | [`embedded`] | the S3 server and broker that `local` and the tests run in process |
//! | [`audit`] | proves delivery from what is stored |
//! | [`memory`] | how much memory this process may use, and has used |
//! | [`failpoint`] | crash points for tests |
//! | [`status`] | what `/status` says |
//! | [`metrics`] | all metrics |
//! | [`http`] | the read-only endpoints |

mod address;
pub mod audit;
pub mod batch;
pub mod command;
pub mod contact;
pub mod decode;
mod dial;
pub mod embedded;
pub mod encode;
pub mod error;
pub mod failpoint;
pub mod feed;
pub mod http;
pub mod kafka;
pub mod ledger;
pub mod local;
pub mod memory;
pub mod metrics;
pub mod partitions;
pub mod pieces;
pub mod producer;
pub mod progress;
pub mod record;
pub mod sink;
pub mod slots;
pub mod source;
pub mod status;
pub mod store;
pub mod topic;
