"""Faults that a quota store could have, each as a change of one place in the source, and a run that has to find it.

Run by hand it prints a line for each: `python tests/quotas/quota_mutations.py`; words after it choose those whose names
have them all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
MEMORY = ("tests/quotas/test_memory_contract.py", "tests/quotas/test_quota_machine.py")
REDIS = ("tests/quotas/test_redis_contract.py",)
POSTGRES = ("tests/quotas/test_postgres_contract.py",)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One place of the source, what is put there instead, and the tests of which one has to fail."""

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...] = MEMORY


MUTATIONS = (
    Mutation(
        "the root is skipped",
        "_limits.py",
        "for scope in scopes for cell in self._scopes.get(scope, ())",
        "for scope in scopes[1:] for cell in self._scopes.get(scope, ())",
    ),
    Mutation(
        "the leaf is skipped",
        "_limits.py",
        "for scope in scopes for cell in self._scopes.get(scope, ())",
        "for scope in (scopes[:-1] or scopes) for cell in self._scopes.get(scope, ())",
    ),
    Mutation("money is skipped", "_limits.py", "[*tokens, *money, *others]", "[*tokens, *others]"),
    Mutation("tokens are skipped", "_limits.py", "[*tokens, *money, *others]", "[*money, *others]"),
    Mutation("the others are skipped", "_limits.py", "[*tokens, *money, *others]", "[*tokens, *money]"),
    Mutation(
        "an expiry releases",
        "_engine.py",
        "        if record.dispatched:\n            held",
        "        if False:\n            held",
    ),
    Mutation(
        "an expiry charges whoever was never asked",
        "_engine.py",
        "        if record.dispatched:\n            held",
        "        if True:\n            held",
    ),
    Mutation(
        "a settle is settled twice",
        "_engine.py",
        'if record is None or record.state not in ("active", "lapsed"):',
        'if record is None or record.state not in ("active", "lapsed", "settled"):',
    ),
    Mutation(
        "a correction is written twice",
        "_engine.py",
        "if record.answer is not None and not _corrects(charge, record.answer):",
        "if False:",
    ),
    Mutation(
        "a refund is written twice",
        "_engine.py",
        "        if record.refund is not None:",
        "        if False:",
    ),
    Mutation(
        "a refusal has counted the request",
        "_engine.py",
        "        rooms = [cell.room(now) - costs[index] for cell, index in path.table]\n        if rooms and",
        "        for cell in path.gates:\n            cell.hold(1, now)\n"
        "        rooms = [cell.room(now) - costs[index] for cell, index in path.table]\n        if rooms and",
    ),
    Mutation(
        "a refusal counts leases whose time is over",
        "_engine.py",
        "        self.expire(now=now)\n        rooms",
        "        rooms",
    ),
    Mutation(
        "a clock that steps back opens windows",
        "_engine.py",
        "            now = self.now\n        if now >=",
        "            self.now = now\n        if now >=",
    ),
    Mutation("an extension is not checked", "_engine.py", "if cost and part.room(now) < cost:", "if False:"),
    Mutation(
        "an extension is counted twice when it is repeated",
        "_engine.py",
        "hold = _sum(record.hold, lease.hold, more)",
        "hold = _sum(record.hold, record.hold, more)",
    ),
    Mutation(
        "a settle keeps the hold",
        "_windows.py",
        "        self.held -= held\n        self.used += actual",
        "        self.used += actual",
    ),
    Mutation(
        "a settle forgets what was used",
        "_windows.py",
        "        self.held -= held\n        self.used += actual",
        "        self.held -= held",
    ),
    Mutation(
        "a settle counts in the window of now",
        "_windows.py",
        "        self.used += actual\n        return self.used",
        "        (self.cell.span if at >= self.end else self).used += actual\n        return self.used",
    ),
    Mutation(
        "what is held does not count",
        "_windows.py",
        "return self.bound - span.used - span.held",
        "return self.bound - span.used",
    ),
    Mutation(
        "one more than the limit fits",
        "_windows.py",
        "return self.bound - span.used - span.held",
        "return self.bound - span.used - span.held + 1",
    ),
    Mutation(
        "a rolling window forgets a bucket too early",
        "_rates.py",
        "if number < newest - BUCKETS]",
        "if number <= newest - BUCKETS]",
    ),
    Mutation(
        "a rate gives nothing back",
        "_rates.py",
        "        if actual != held:\n            self.hold",
        "        if actual > held:\n            self.hold",
    ),
    Mutation(
        "a rate drains for time that was counted before",
        "_rates.py",
        "                self.level = level\n            self.at = now\n",
        "                self.level = level\n",
    ),
    Mutation(
        "requests that are let in are given back",
        "_limits.py",
        "    return isinstance(cell, RateCell) and cell.index == REQUESTS",
        "    return False",
    ),
    Mutation("a share is not looked at", "_cells.py", "if cell.limit.share is None or", "if True or"),
    Mutation(
        "a share is never given back",
        "_windows.py",
        "left = children.get(self.child, 0) - held",
        "left = children.get(self.child, 0)",
    ),
    Mutation("an alert is given at each row", "_windows.py", "            self.alerted = reached[-1]\n", ""),
    Mutation(
        "an alert comes late",
        "_windows.py",
        "return self.used >= self.notable and actual > 0",
        "return self.used > self.notable and actual > 0",
    ),
    Mutation(
        "a refund takes back what was never charged",
        "_engine.py",
        "nano_usd > (record.nano_usd or 0)",
        "False",
    ),
    Mutation(
        "an unknown price is free",
        "_engine.py",
        "held[4] if nano_usd is None else nano_usd",
        "0 if nano_usd is None else nano_usd",
        ("tests/quotas/test_memory_store.py", *MEMORY),
    ),
    Mutation(
        "a lease that lapsed may ask",
        "_engine.py",
        'if record is None or record.state in ("released", "lapsed"):',
        'if record is None or record.state in ("released",):',
    ),
    # The same, in the languages in which servers decide.
    Mutation(
        "Redis skips the root",
        "_lua/tree.lua",
        "  return names\nend\n\n-- The client",
        "  if #names > 1 then table.remove(names, 1) end\n  return names\nend\n\n-- The client",
        REDIS,
    ),
    Mutation("in Redis an expiry releases", "_lua/leases.lua", "if lease[DISPATCHED] == 0 then", "if true then", REDIS),
    Mutation(
        "Redis settles twice",
        "_lua/settle.lua",
        "if phase == 'active' or phase == 'lapsed' then",
        "if phase ~= 'charged' then",
        REDIS,
    ),
    Mutation(
        "in Redis what is held does not count",
        "_lua/counters.lua",
        "cell[AMOUNT] - span[USED] - span[HELD]",
        "cell[AMOUNT] - span[USED]",
        REDIS,
    ),
    Mutation("Redis refuses for leases whose time is over", "_lua/reserve.lua", "    expire_all() --", "    --", REDIS),
    Mutation(
        "Redis does not look at shares",
        "_lua/counters.lua",
        "left = math.min(left, share - (span[CHILDREN][child] or 0))",
        "left = left",
        REDIS,
    ),
    Mutation(
        "PostgreSQL skips the root",
        "_sql/counters.sql",
        "    RETURN v_scopes;",
        "    RETURN CASE WHEN cardinality(v_scopes) > 1 THEN v_scopes[2:] ELSE v_scopes END;",
        POSTGRES,
    ),
    Mutation(
        "in PostgreSQL an expiry releases", "_sql/verbs.sql", "IF p_lease.dispatched THEN", "IF false THEN", POSTGRES
    ),
    Mutation(
        "PostgreSQL settles twice",
        "_sql/verbs.sql",
        "v_lease.state NOT IN ('active', 'lapsed') THEN",
        "v_lease.state NOT IN ('active', 'lapsed', 'settled') THEN",
        POSTGRES,
    ),
    Mutation(
        "in PostgreSQL what is held does not count",
        "_sql/counters.sql",
        "THEN c.bound - k.used - k.held\n",
        "THEN c.bound - k.used\n",
        POSTGRES,
    ),
    Mutation(
        "PostgreSQL does not look at shares",
        "_sql/counters.sql",
        "WHEN c.share IS NULL OR p_tenant = c.scope THEN",
        "WHEN true THEN",
        POSTGRES,
    ),
)


def survives(mutation: Mutation) -> bool:
    """Whether the tests pass with the fault in the source."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(PROJECT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        place = source / "planar/quotas" / mutation.file
        text = place.read_text()
        if text.count(mutation.before) != 1:
            raise LookupError(f"{mutation.name}: {mutation.file} has {text.count(mutation.before)} places to change")
        place.write_text(text.replace(mutation.before, mutation.after))
        options = ["-q", "-x", "-p", "no:cacheprovider", "-k", "not trio"]
        environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1", "PLANAR_FAULTED": "1"}
        run = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *mutation.tests],
            cwd=PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if run.returncode not in (0, 1):
            raise RuntimeError(f"{mutation.name}: the tests did not run:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
        return run.returncode == 0


if __name__ == "__main__":
    alive = 0
    for mutation in MUTATIONS:
        if not all(word in mutation.name for word in sys.argv[1:]):
            continue
        found = not survives(mutation)
        alive += not found
        print("found   " if found else "SURVIVED", mutation.name, flush=True)
    sys.exit(1 if alive else 0)
