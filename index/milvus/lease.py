"""Who writes to an index in Milvus: one at a time, and the others are told who that is.

Milvus has no lock, and Milvus Lite has little of what a cluster has. Both refuse to create an alias that there is. So
whoever writes makes an empty collection, which says who, since when and until when, and gives it the alias
``<name>_writer``; whoever cannot is refused. The lease is renewed as long as the writer lives. One that has run out
belongs to a writer that died: the alias is exchanged, which several may do at once, and who has it a little later goes
on. Times are those of the machines that write: their clocks may differ by less than a lease is long.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pymilvus import DataType, MilvusClient

from index.milvus.collection import FAILURES, TIMEOUT_S
from index.schema import UnavailableError
from index.stores import Address

logger = logging.getLogger(__name__)

_PROPERTY = "nearpose.writer"
_TERM = timedelta(minutes=15)
_RENEWED_S = 240.0  # so that three failures in a row lose nothing
_SETTLED_S = 3.0  # in which all who have found the same lease run out have exchanged the alias
_ATTEMPTS = 3  # a lease may be given back just when one is refused for it


@dataclass(frozen=True)
class Holder:
    """Who writes; ``until`` it is renewed, or over."""

    who: str
    since: datetime
    until: datetime

    def text(self) -> str:
        """As JSON."""
        return json.dumps({"who": self.who, "since": self.since.isoformat(), "until": self.until.isoformat()})

    @classmethod
    def from_text(cls, text: str) -> Holder:
        """Reads what ``text`` wrote. Raises ValueError where it is none."""
        try:
            told = json.loads(text)
            return cls(told["who"], *(datetime.fromisoformat(told[name]) for name in ("since", "until")))
        except (KeyError, TypeError) as error:
            raise ValueError(text) from error


@contextmanager
def writing(client: MilvusClient, address: Address) -> Iterator[Lease]:
    """The only one that writes to an index, in this ``with`` block. Raises UnavailableError where another one does."""
    lease = Lease(client, address)
    lease.take()
    done = threading.Event()
    renewing = threading.Thread(target=lease.renew_until, args=(done,), daemon=True)
    renewing.start()
    try:
        yield lease
    finally:
        done.set()
        renewing.join()
        lease.give_back()


class Lease:
    """The right to write to an index. Milvus's own errors pass through."""

    def __init__(self, client: MilvusClient, address: Address) -> None:
        self._client, self._address, self._alias = client, address, f"{address.name}_writer"
        self._who, self._since = f"{socket.gethostname()}, process {os.getpid()}", datetime.now(UTC)
        self._ours: set[str] = set()  # all that it has announced: Milvus may have done what it did not answer

    def take(self) -> None:
        """Raises UnavailableError, naming the writer, where another one has it."""
        try:
            for left in reversed(range(_ATTEMPTS)):
                if self._taken(self._announced(), last=left == 0):
                    break
        except BaseException:
            self.give_back()
            raise
        self._drop(lambda name: name not in self._ours)  # of writers that died

    def check(self) -> None:
        """Raises UnavailableError where another writer has taken this one for dead."""
        if self._holding() not in self._ours:
            raise UnavailableError(str(self._address), f"the lease of {self._who} ran out, and another writer took it")

    def renew_until(self, done: threading.Event) -> None:
        """Renews it from time to time."""
        while not done.wait(_RENEWED_S):
            try:
                self._renew()
            except (*FAILURES, UnavailableError) as error:
                logger.warning("%s: the lease was not renewed: %s", self._address, error)

    def give_back(self) -> None:
        """Lets others write; what Milvus does not answer now runs out by itself."""
        with suppress(*FAILURES):
            if self._holding() in self._ours:
                self._client.drop_alias(self._alias, timeout=TIMEOUT_S)
        self._drop(lambda name: name in self._ours)

    def _taken(self, announced: str, *, last: bool) -> bool:
        try:
            other = self._holding()  # before it is tried: of a refusal the client logs its own traceback
            if other is None:
                self._client.create_alias(announced, self._alias, timeout=TIMEOUT_S)
            elif other not in self._ours:
                self._take_over(other, announced)
        except FAILURES:
            if last:
                raise
            return False
        return True

    def _take_over(self, other: str, announced: str) -> None:
        holder = self._holder(other)
        if holder.until > datetime.now(UTC):
            since, until = (f"{moment:%Y-%m-%d %H:%M:%S} UTC" for moment in (holder.since, holder.until))
            reason = f"{holder.who} has been writing to it since {since}; unless it goes on, others may from {until} on"
            raise UnavailableError(str(self._address), reason)
        logger.warning("%s: the lease of %s ran out at %s: it is taken over", self._address, holder.who, holder.until)
        try:
            self._client.alter_alias(announced, self._alias, timeout=TIMEOUT_S)
        finally:  # it may be done without an answer
            time.sleep(_SETTLED_S)
        self.check()

    def _renew(self) -> None:
        self.check()
        try:
            self._client.alter_alias(self._announced(), self._alias, timeout=TIMEOUT_S)
        finally:  # whichever of them has the alias now
            kept = self._holding()
            self._drop(lambda name: name in self._ours and name != kept)

    def _holder(self, collection: str) -> Holder:
        told = self._client.describe_collection(collection, timeout=TIMEOUT_S)
        try:
            return Holder.from_text(told.get("properties", {}).get(_PROPERTY) or told["description"])
        except ValueError:
            reason = f"someone writes to it who does not say until when: the alias {self._alias} has {collection}"
            raise UnavailableError(str(self._address), reason) from None

    def _announced(self) -> str:
        """The name of a new collection that says who writes."""
        name = f"{self._alias}_{uuid.uuid4().hex}"
        self._ours.add(name)
        holder = Holder(self._who, self._since, datetime.now(UTC) + _TERM)
        text = holder.text()  # Milvus Lite forgets descriptions, and a cluster might not take a property of ours
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=text)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("none", DataType.FLOAT_VECTOR, dim=2)  # Milvus has no collection without a vector
        self._client.create_collection(name, schema=schema, properties={_PROPERTY: text}, timeout=TIMEOUT_S)
        return name

    def _holding(self) -> str | None:
        """The collection that has the alias."""
        if self._alias not in self._client.list_aliases(timeout=TIMEOUT_S)["aliases"]:
            return None
        return str(self._client.describe_alias(self._alias, timeout=TIMEOUT_S)["collection_name"])

    def _drop(self, which: Callable[[str], bool]) -> None:
        """Drops some of what has been announced for this index."""
        with suppress(*FAILURES):  # an empty one that stays harms nobody, and the next writer drops it
            for name in self._client.list_collections(timeout=TIMEOUT_S):
                if re.fullmatch(rf"{self._alias}_[0-9a-f]{{32}}", name) and which(name):
                    self._client.drop_collection(name, timeout=TIMEOUT_S)
