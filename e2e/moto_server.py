"""moto's server, with the two answers mended without which no reader of Glue works.

Glue fills in members of a storage descriptor that were not written, and always says which keys BatchGetPartition did not
come to; moto returns what was written, and nothing.
"""

import sys

from moto.core.responses import ActionResult
from moto.glue.models import FakePartition, FakeTable
from moto.glue.responses import GlueResponse
from moto.server import main

FILLED_IN = {"Compressed": False, "NumberOfBuckets": 0, "StoredAsSubDirectories": False}


def with_whole_descriptor(kind):
    as_written = kind.as_dict

    def as_dict(self, *arguments, **options):
        answer = dict(as_written(self, *arguments, **options))
        if answer.get("StorageDescriptor"):
            answer["StorageDescriptor"] = FILLED_IN | answer["StorageDescriptor"]
        return answer

    kind.as_dict = as_dict


def batch_get_partition(self):
    names = [self.parameters.get(name) for name in ("DatabaseName", "TableName", "PartitionsToGet")]
    return ActionResult({"Partitions": self.glue_backend.batch_get_partition(*names), "UnprocessedKeys": []})


with_whole_descriptor(FakeTable)
with_whole_descriptor(FakePartition)
GlueResponse.batch_get_partition = batch_get_partition
main(sys.argv[1:])
