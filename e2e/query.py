"""Prints the rows of one SQL statement, as Trino answers it: query.py URL CATALOG SQL."""

import json
import sys
import urllib.request

SECONDS = 120


def cell(value):
    if value is None:
        return "NULL"
    return value if isinstance(value, str) else json.dumps(value)


def main(url, catalog, sql):
    headers = {"X-Trino-User": "e2e", "X-Trino-Catalog": catalog}
    request = urllib.request.Request(url + "/v1/statement", sql.encode(), headers)
    while request:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            page = json.load(answer)
        for row in page.get("data", []):
            print("\t".join(map(cell, row)))
        if "error" in page:
            sys.exit("{errorName}: {message}".format(**page["error"]))
        request = page.get("nextUri")


main(*sys.argv[1:])
