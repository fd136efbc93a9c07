"""What people do, and how often."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from run import Run

CATEGORIES = ("brushes", "fonts", "icons", "sounds", "templates")
WORDS = ("paint", "winter", "round", "quiet", "paper", "signal", "garden", "night")
BIG = 2 * 1024**2


async def sell(run: Run, size: int = 4096) -> None:
    """Draft, upload, hand in; the moderator approves."""
    seller, word = run.somebody(), run.draw.choice(WORDS)
    draft = {"title": f"A {word} thing", "description": f"For {word} and more", "price_cents": run.draw.randrange(2000)}
    made = await run.ask(
        "create a nano", "POST", "/v1/nanos", seller, json={**draft, "category": run.draw.choice(CATEGORIES)}
    )
    if made is None or made.status_code != 201:
        return
    nano = made.json()["id"]
    content, kind = run.draw.randbytes(size), {"Content-Type": "application/octet-stream"}
    name = "upload a big file (slow)" if size == BIG else "upload a file"
    await run.ask(name, "PUT", f"/v1/nanos/{nano}/file", seller, content=content, headers=kind)
    handed = await run.ask("publish", "POST", f"/v1/nanos/{nano}/publish", seller)
    if handed is None or handed.status_code != 202:
        return
    approve = f"/v1/moderation/items/{handed.json()['id']}/approve"
    approved = await run.ask("approve", "POST", approve, run.people[0])
    if approved is not None and approved.status_code == 200:
        run.nanos.append(nano)


def actions() -> dict[Callable[[Run], Awaitable[object]], int]:
    """Return what people do and how often, in parts of all."""
    return {
        lambda run: run.ask("search", "GET", "/v1/nanos", params={"q": run.draw.choice(WORDS), "limit": 20}): 40,
        lambda run: run.ask("look at a nano", "GET", f"/v1/nanos/{run.nano()}"): 20,
        lambda run: run.ask("own account", "GET", "/v1/users/me", run.somebody()): 5,
        lambda run: run.ask(
            "download a part", "GET", f"/v1/nanos/{run.nano()}/file", run.somebody(), headers={"Range": "bytes=0-1023"}
        ): 8,
        sell: 5,
        lambda run: run.ask(
            "rate", "PUT", f"/v1/nanos/{run.nano()}/rating", run.somebody(), json={"stars": run.draw.randint(1, 5)}
        ): 4,
        lambda run: run.ask(
            "write to the seller",
            "POST",
            f"/v1/nanos/{run.nano()}/chats",
            run.somebody(),
            json={"body": "Is it round?"},
        ): 4,
        lambda run: run.ask("the moderators' queue", "GET", "/v1/moderation/items", run.people[0]): 2,
        # What goes wrong every day, and what is slow.
        lambda run: run.ask("no such nano", "GET", "/v1/nanos/00000000-0000-4000-8000-000000000000"): 3,
        lambda run: run.ask("invalid nano", "POST", "/v1/nanos", run.somebody(), json={"title": ""}): 2,
        lambda run: run.ask("without a login", "GET", "/v1/chats"): 2,
        lambda run: run.ask(
            "wrong password",
            "POST",
            "/v1/sessions",
            json={"email": run.somebody().email, "password": "not the password"},
        ): 1,
        lambda run: sell(run, BIG): 1,
    }
