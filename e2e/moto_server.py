"""moto's server, with what it lacks or answers otherwise than AWS, where a reader of Glue, or a test, needs it.

Glue fills in members of a storage descriptor that were not written, and always says which keys BatchGetPartition did not
come to; moto returns what was written, and nothing. It keeps partition indexes, one of which is at work at a time, as
moto does not. Athena deletes and changes saved queries, makes one of two requests with one token, and changes workgroups;
moto knows none of that. A statement that makes a view makes one in Glue; moto forgets it.
"""

import base64
import json
import re
import sys

from moto.athena.models import AthenaBackend
from moto.athena.responses import AthenaResponse
from moto.core.responses import ActionResult, EmptyResult
from moto.glue.exceptions import AlreadyExistsException, EntityNotFoundException, InvalidInputException, ResourceNumberLimitExceededException
from moto.glue.models import FakePartition, FakeTable, glue_backends
from moto.glue.responses import GlueResponse
from moto.server import main

FILLED_IN = {"Compressed": False, "NumberOfBuckets": 0, "StoredAsSubDirectories": False}
MOST_INDEXES = 3
VIEW = re.compile(r'CREATE OR REPLACE VIEW "((?:[^"]|"")+)" AS\s+(.+)', re.DOTALL)


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


def indexes_of(table):
    return table.__dict__.setdefault("partition_indexes", {})


def add_index(table, index):
    types = {key["Name"]: key.get("Type", "string") for key in table.as_dict().get("PartitionKeys", [])}
    unknown = [name for name in index["Keys"] if name not in types]
    if unknown:
        raise InvalidInputException("CreatePartitionIndex", f"IndexKeys not a part of PartitionColumns: {unknown}")
    keys = [{"Name": name, "Type": types[name]} for name in index["Keys"]]
    indexes_of(table)[index["IndexName"]] = {"IndexName": index["IndexName"], "Keys": keys, "IndexStatus": "CREATING"}


def create_table(self, without_indexes=GlueResponse.create_table):
    answer = without_indexes(self)
    table = self.glue_backend.get_table(self.parameters["DatabaseName"], self.parameters["TableInput"]["Name"])
    for index in self.parameters.get("PartitionIndexes") or []:
        add_index(table, index)
    return answer


def table_of(self):
    return self.glue_backend.get_table(self.parameters["DatabaseName"], self.parameters["TableName"])


def create_partition_index(self):
    table, index = table_of(self), self.parameters["PartitionIndex"]
    known = indexes_of(table)
    refuse_while_at_work(known)
    same_keys = any([key["Name"] for key in other["Keys"]] == index["Keys"] for other in known.values())
    if same_keys or index["IndexName"] in known:
        raise AlreadyExistsException("Partition Index")
    if len(known) >= MOST_INDEXES:
        raise ResourceNumberLimitExceededException(f"Partition index limit exceeded. Maximum: {MOST_INDEXES}")
    add_index(table, index)
    return EmptyResult()


def delete_partition_index(self):
    known, name = indexes_of(table_of(self)), self.parameters["IndexName"]
    refuse_while_at_work(known)
    if name not in known:
        raise EntityNotFoundException(f"Partition Index {name} not found.")
    known[name]["IndexStatus"] = "DELETING"
    return EmptyResult()


def refuse_while_at_work(known):
    for index in known.values():
        if index["IndexStatus"] != "ACTIVE":
            state = f"Index {index['IndexName']} is in {index['IndexStatus']} state."
            raise ResourceNumberLimitExceededException(f"{state} Only 1 index can be created or deleted simultaneously per table.")


def get_partition_indexes(self):
    """What is at work is seen so once, and has ended by the next look."""
    known = indexes_of(table_of(self))
    answer = [dict(index) for index in known.values()]
    for index in answer:
        if index["IndexStatus"] == "DELETING":
            del known[index["IndexName"]]
        else:
            known[index["IndexName"]]["IndexStatus"] = "ACTIVE"
    return ActionResult({"PartitionIndexDescriptorList": answer})


def known_query(act):
    def answer(self):
        name = self._get_param("NamedQueryId")
        if name not in self.athena_backend.named_queries:
            return self.error(f"NamedQuery {name} does not exist", 400)
        return act(self)

    return answer


def create_named_query(self, without_tokens=AthenaResponse.create_named_query):
    """A request that is repeated with its token makes nothing more."""
    made, token = self.athena_backend.__dict__.setdefault("request_tokens", {}), self._get_param("ClientRequestToken")
    if made.get(token) in self.athena_backend.named_queries:
        return json.dumps({"NamedQueryId": made[token]})
    answer = without_tokens(self)
    if token and isinstance(answer, str):
        made[token] = json.loads(answer)["NamedQueryId"]
    return answer


def delete_named_query(self):
    del self.athena_backend.named_queries[self._get_param("NamedQueryId")]
    return json.dumps({})


def update_named_query(self):
    query = self.athena_backend.named_queries[self._get_param("NamedQueryId")]
    query.name, query.description = self._get_param("Name"), self._get_param("Description")
    query.query_string = self._get_param("QueryString")
    return json.dumps({})


def update_work_group(self):
    name = self._get_param("WorkGroup")
    group = self.athena_backend.work_groups.get(name)
    if not group:
        return self.error(f"WorkGroup {name} is not found.", 400)
    updates = dict(self._get_param("ConfigurationUpdates") or {})
    if updates.pop("RemoveBytesScannedCutoffPerQuery", False):
        group.configuration.pop("BytesScannedCutoffPerQuery", None)
    group.configuration.setdefault("ResultConfiguration", {}).update(updates.pop("ResultConfigurationUpdates", {}))
    group.configuration.update(updates)
    return json.dumps({})


def process_ddl(self, query, context, without_views=AthenaBackend._process_ddl):
    view = VIEW.fullmatch(query)
    if not view:
        return without_views(self, query, context)
    name, database = view[1].replace('""', '"'), context["Database"]
    text = {"originalSql": view[2], "catalog": "awsdatacatalog", "schema": database, "columns": []}
    encoded = base64.b64encode(json.dumps(text).encode()).decode()
    made = {
        "Name": name,
        "TableType": "VIRTUAL_VIEW",
        "Parameters": {"presto_view": "true", "comment": "Presto View"},
        "StorageDescriptor": {"Columns": [], "Location": ""},
        "PartitionKeys": [],
        "ViewOriginalText": f"/* Presto View: {encoded} */",
        "ViewExpandedText": "/* Presto View */",
    }
    glue = glue_backends[self.account_id][self.region_name]
    glue.get_database(database).tables.pop(name, None)
    glue.create_table(database, name, made)


with_whole_descriptor(FakeTable)
with_whole_descriptor(FakePartition)
for call in (batch_get_partition, create_table, create_partition_index, delete_partition_index, get_partition_indexes):
    setattr(GlueResponse, call.__name__, call)
AthenaResponse.get_named_query = known_query(AthenaResponse.get_named_query)
AthenaResponse.create_named_query = create_named_query
AthenaResponse.delete_named_query = known_query(delete_named_query)
AthenaResponse.update_named_query = known_query(update_named_query)
AthenaResponse.update_work_group = update_work_group
AthenaBackend._process_ddl = process_ddl
main(sys.argv[1:])
