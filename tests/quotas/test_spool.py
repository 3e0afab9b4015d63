"""Rows on the disk: they survive their process, a loss of power and each other's company."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outages import CHARGE, HOLD, files

from effort import examples
from planar.errors import StoreError
from planar.quotas._spool import Spool
from planar.quotas._spool_rows import Row, decode, encode
from planar.types import Amount, Charge, Headroom, Lease, LeaseId, Price, TenantPath, Usage

WRITER = """
import os, sys
from pathlib import Path
from planar.quotas._spool import Spool
from planar.quotas._spool_rows import Row
from planar.types import Amount, Charge, Headroom, Lease, LeaseId, TenantPath

spool, name, count = Spool(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
for number in range(count):
    lease = Lease(
        id=LeaseId(f"{name}-{number}"), tenant=TenantPath("acme"), hold=Amount(), expires=1.0, deployment="a:b",
        headroom=Headroom(),
    )
    spool.add(Row(kind="settle", lease=lease, charge=Charge(amount=Amount(nano_usd=number))))
    print(lease.id, flush=True)
sys.stdin.read()
"""


def lease(name: str, *, provisional: bool = False) -> Lease:
    return Lease(
        id=LeaseId(name),
        tenant=TenantPath("acme/search"),
        hold=HOLD,
        expires=1_767_225_600.5,
        deployment="openai:x",
        headroom=Headroom(),
        provisional=provisional,
    )


def settle(name: str, charge: Charge = CHARGE) -> Row:
    return Row(kind="settle", lease=lease(name), charge=charge)


def waiting(spool: Spool) -> list[str]:
    return [pending.lease.id for pending in spool.pending()]


def test_a_file_is_there_only_while_something_waits(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    assert not (tmp_path / "spool").exists()

    first, second = spool.add(settle("one")), spool.add(settle("two"))
    assert len(files(tmp_path / "spool")) == 1
    assert spool.done(first, rows=1)
    assert len(files(tmp_path / "spool")) == 1
    assert spool.done(second, rows=1)

    assert files(tmp_path / "spool") == []
    assert not spool.done(second, rows=1)


def test_what_came_while_it_was_written_waits_on(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    pending = spool.add(Row(kind="dispatched", lease=lease("one")))
    spool.add(settle("one"))

    assert not spool.done(pending, rows=1)

    assert waiting(spool) == ["one"]
    assert (pending.dispatched, pending.charges, pending.rows) == (True, [CHARGE], 2)


def test_the_next_process_finds_what_is_not_done(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.add(Row(kind="dispatched", lease=lease("one", provisional=True)))
    spool.add(Row(kind="release", lease=lease("two")))
    spool.done(spool.add(settle("three")), rows=1)
    spool.close()
    following = Spool(tmp_path)

    assert following.adopt() == 2

    one, two = following.pending()
    assert (one.lease, one.dispatched, one.charges) == (lease("one", provisional=True), True, [])
    assert (two.lease.id, two.released) == ("two", True)
    assert len(files(tmp_path)) == 1


def test_the_file_of_a_living_process_is_left_to_it(tmp_path: Path) -> None:
    living = Spool(tmp_path)
    living.add(settle("one"))
    other = Spool(tmp_path)
    other.add(settle("two"))

    assert other.adopt() == 0

    assert (waiting(living), waiting(other)) == (["one"], ["two"])
    assert len(files(tmp_path)) == 2


def test_rows_of_one_lease_from_two_processes_come_together(tmp_path: Path) -> None:
    first, second = Spool(tmp_path), Spool(tmp_path)
    first.add(Row(kind="dispatched", lease=lease("one")))
    first.close()
    second.add(settle("one"))

    second.adopt()

    [pending] = second.pending()
    assert (pending.dispatched, pending.charges) == (True, [CHARGE])


def test_a_process_that_is_killed_leaves_every_row_that_it_confirmed(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), "killed", "100000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    confirmed = [process.stdout.readline().decode().strip() for _ in range(50)]
    process.send_signal(signal.SIGKILL)
    confirmed += process.stdout.read().decode().split()
    process.communicate()

    spool = Spool(tmp_path)
    spool.adopt()

    found = waiting(spool)
    assert found[: len(confirmed)] == confirmed
    assert len(found) <= len(confirmed) + 1  # the last one may be written and not be confirmed


def test_processes_that_begin_at_once_share_out_what_is_left(tmp_path: Path) -> None:
    for number in range(20):
        left = Spool(tmp_path)
        left.add(settle(f"{number}"))
        left.close()
    spools = [Spool(tmp_path) for _ in range(4)]
    threads = [threading.Thread(target=spool.adopt) for spool in spools]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(int(name) for spool in spools for name in waiting(spool)) == list(range(20))


def test_writers_and_adopters_in_many_processes_lose_nothing(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), f"w{number}", "40"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(3)
    ]
    spool = Spool(tmp_path)
    for writer in writers:
        assert writer.stdout is not None
        for _ in range(40):
            writer.stdout.readline()
            spool.adopt()
    assert waiting(spool) == []

    for writer in writers:
        writer.communicate()
    spool.adopt()

    assert sorted(waiting(spool)) == sorted(f"w{writer}-{number}" for writer in range(3) for number in range(40))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_has_a_file_of_its_own(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.add(settle("parent's"))

    child = os.fork()
    if child == 0:
        spool.add(settle("child's"))
        os._exit(0 if waiting(spool) == ["child's"] else 1)
    _, status = os.waitpid(child, 0)

    assert status == 0
    spool.adopt()
    assert sorted(waiting(spool)) == ["child's", "parent's"]


def test_half_a_row_is_passed_over_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool(tmp_path)
    spool.add(settle("one"))
    spool.add(settle("two"))
    spool.close()
    [path] = files(tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    following = Spool(tmp_path)

    following.adopt()

    assert waiting(following) == ["one"]
    [told] = caplog.records
    assert told.levelno == logging.WARNING
    assert "half a row" in told.message
    assert files(tmp_path, "rejected") == []


@examples(60)
@given(cut=st.integers(0, 10_000))
def test_wherever_the_power_went_all_whole_rows_are_read(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("spool")
    lines = [encode(settle(f"{number}")) for number in range(5)]
    content = b"".join(lines)[: cut % (len(b"".join(lines)) + 1)]
    (folder / "dead.jsonl").write_bytes(content)
    spool = Spool(folder)

    spool.adopt()

    assert waiting(spool) == [f"{number}" for number in range(content.count(b"\n"))]
    spool.close()


@pytest.mark.parametrize(
    "line",
    [
        b"\x00\x00\x00\x00",
        b"{}",
        b"[1, 2]",
        b'{"kind":"settle"}',
        b'{"kind":"stole","lease":{}}',
        encode(Row(kind="settle", lease=lease("no charge"))).strip(),
        encode(settle("one")).strip().replace(b"600", b"-600"),
        encode(settle("one")).strip().replace(b"acme/search", b"../etc"),
    ],
)
def test_a_line_that_is_no_row_is_put_aside_and_the_others_are_read(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "dead.jsonl").write_bytes(line + b"\n" + encode(settle("good")))
    spool = Spool(tmp_path)

    spool.adopt()

    assert waiting(spool) == ["good"]
    assert spool.rejected == 1
    [rejected] = files(tmp_path, "rejected")
    note = json.loads(rejected.read_text())
    assert note["row"] == line.decode(errors="backslashreplace")
    assert note["reason"]


def test_what_is_rejected_is_kept_with_its_reason_and_not_taken_for_a_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.add(Row(kind="dispatched", lease=lease("one")))
    pending = spool.add(settle("one"))

    spool.reject(pending, "it was released")
    spool.close()

    [rejected] = files(tmp_path, "rejected")
    notes = [json.loads(line) for line in rejected.read_text().splitlines()]
    assert [decode(note["row"].encode()).kind for note in notes] == ["dispatched", "settle"]
    assert {note["reason"] for note in notes} == {"it was released"}
    assert Spool(tmp_path).adopt() == 0


FULL_DISK = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
endless = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
add, failed = spool.add, []
def limited(row):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000 if not failed else endless, endless))
    try:
        add(row)
    except OSError:
        failed.append(row.lease.id)
        print("failed", flush=True)
spool.add = limited
"""


def test_a_write_that_fails_half_way_leaves_no_half_row(tmp_path: Path) -> None:
    code = WRITER.replace("for number", FULL_DISK + "for number", 1).replace("print(lease.id, flush=True)", "")

    process = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), "w", "20"], capture_output=True, text=True, check=True, input=""
    )
    spool = Spool(tmp_path)
    spool.adopt()

    assert process.stdout.split() == ["failed"]
    assert (len(waiting(spool)), spool.rejected) == (19, 0)


def test_files_are_for_this_user_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a" / "spool")
    spool.add(settle("one"))

    [path] = files(tmp_path / "a" / "spool")

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_link_that_somebody_put_there_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    target = tmp_path / "target"
    target.write_bytes(encode(settle("one")))
    folder = tmp_path / "spool"
    folder.mkdir()
    (folder / "a-link.jsonl").symlink_to(target)
    (folder / "dead.jsonl").write_bytes(encode(settle("two")))
    spool = Spool(folder)

    spool.adopt()

    assert waiting(spool) == ["two"]
    assert target.exists()
    assert "left where it is" in caplog.text


def test_a_row_comes_back_as_it_was_but_for_the_providers_own_words() -> None:
    usage = Usage(input_tokens=1, cached_input_tokens=1, output_tokens=2, estimated=True, raw={"prompt": "secret"})
    charge = Charge(
        amount=Amount(input_tokens=1, output_tokens=2, nano_usd=None),
        usage=usage,
        price=Price.per_million(input="0.1", output="0.4", source="a page", as_of="2026-11-20"),
        flags=frozenset({"estimated", "cut"}),
        metadata={"ä\n": "\u2028"},
    )

    line = encode(settle("one", charge))

    assert line.count(b"\n") == 1
    assert b"secret" not in line
    back = decode(line)
    assert back.charge is not None
    assert back.charge.usage == Usage(input_tokens=1, cached_input_tokens=1, output_tokens=2, estimated=True)
    assert (back.lease, back.charge.amount, back.charge.price) == (lease("one"), charge.amount, charge.price)
    assert (back.charge.flags, back.charge.metadata) == (charge.flags, charge.metadata)
    with pytest.raises(StoreError):
        decode(line[:-20])
