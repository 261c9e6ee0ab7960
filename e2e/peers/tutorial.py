"""A consumer as tutorials write it: each message of a topic becomes one JSON object in S3, named by a counter.

    tutorial.py BROKERS TOPIC GROUP ENDPOINT PREFIX COUNT

It has a group, so that it goes on after a crash where Kafka says. Prints 1 after the first object, the counter after each hundred, and
"done" after COUNT objects or when nothing has come for ten seconds; then it waits to be ended, so that what it has used can be read.
"""

import json
import sys

import s3fs
from kafka import KafkaConsumer


def main(brokers, topic, group, endpoint, prefix, count):
    files = s3fs.S3FileSystem(endpoint_url=endpoint)
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=brokers.split(","),
        group_id=group,
        auto_offset_reset="earliest",
        session_timeout_ms=6000,
        heartbeat_interval_ms=2000,
        consumer_timeout_ms=10000,
        value_deserializer=lambda value: json.loads(value.decode("utf-8")),
    )
    for number, message in enumerate(consumer):
        with files.open(f"s3://{prefix}/stock_market_{number}.json", "w") as file:
            json.dump(message.value, file)
        stored = number + 1
        if stored == int(count):
            break
        if stored == 1 or stored % 100 == 0:
            print(stored, flush=True)
    print("done", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
