"""Routes that use a database, a cache, an object store and a search engine, for test_clients.py."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import boto3
import redis.asyncio
from botocore.config import Config
from elasticsearch import Elasticsearch
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from nano_telemetry import Telemetry

engine = create_async_engine("sqlite+aiosqlite:///:memory:")
other = create_async_engine("sqlite+aiosqlite:///:memory:")


def add(app: FastAPI, telemetry: Telemetry) -> None:
    for each in (engine, other, engine):
        telemetry.instrument_sqlalchemy(each)
    telemetry.instrument_redis()
    telemetry.instrument_botocore()
    cache = redis.asyncio.Redis.from_url(os.environ["TEST_REDIS"], protocol=2)
    url = os.environ["TEST_HTTP"]
    store = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="hunter2-secret",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )
    search = Elasticsearch(url, max_retries=0)

    @app.get("/sql")
    async def sql() -> Any:
        async with other.connect() as connection:
            await connection.execute(text("SELECT 'hunter2-other'"))
        async with engine.connect() as connection:
            query = text("SELECT 'hunter2-literal' AS a, :mail AS b /* hunter2-comment */")
            return (await connection.execute(query, {"mail": "hunter2-bound"})).one().b

    @app.get("/cache")
    async def cached() -> Any:
        return await cache.set("session:hunter2-key", "hunter2-value")

    @app.get("/store")
    async def stored() -> Any:
        await asyncio.to_thread(store.put_object, Bucket="nanos", Key="n1", Body=b"hunter2-body")

    @app.get("/search")
    async def searched() -> Any:
        await asyncio.to_thread(lambda: search.search(index="nanos", query={"match": {"title": "hunter2-query"}}))
