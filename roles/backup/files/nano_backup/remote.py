"""Copies in S3, by rclone: dumps encrypted before they leave the host, the platform's archive as it is."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from . import command
from .config import S3, Config
from .errors import BackupError

# Folders of the bucket. Names stay readable, so that anybody sees what is there; contents don't.
DUMPS, PLATFORM, VERIFIED = "dumps", "platform", "verified"
# Seconds until a store that is silent is given up, and how often one that stumbles is asked again.
PATIENCE = {"RCLONE_CONTIMEOUT": "10s", "RCLONE_TIMEOUT": "60s", "RCLONE_RETRIES": "2", "RCLONE_LOW_LEVEL_RETRIES": "3"}
NOT_THERE = (3, 4)
REASONS = (
    (r"SignatureDoesNotMatch", "S3 refuses the secret: backup_s3_secret is not the one of {key}"),
    (r"InvalidAccessKeyId", "S3 does not know the access key {key}: check backup_s3_access_key"),
    (r"AccessDenied|Forbidden|status code: 403", "S3 does not allow {key} to do this in bucket {bucket}"),
    (r"NoSuchBucket", "there is no bucket {bucket}: the store's own role makes it"),
    (r"RequestTimeTooSkewed", "the clocks of this host and of S3 differ too much: check the time of both"),
    (r"certificate has expired|not yet valid", "the certificate of {endpoint} has expired, or a clock is wrong: renew it"),
    (r"x509|certificate", "the certificate of {endpoint} is not trusted: check backup_s3_ca_file"),
    (
        # A file of one block that can't be decrypted ends for rclone before its time.
        r"failed to authenticate decrypted|bad password|not an encrypted file|bad header|unexpected EOF",
        "what lies in S3 was not encrypted with this backup_passphrase, or is damaged",
    ),
    (
        r"connection refused|no such host|i/o timeout|connection reset|no route|unreachable|no answer within|"
        r"deadline exceeded|context canceled|status code: 50\d",
        "S3 at {endpoint} does not answer; the next run copies what is missing",
    ),
)


class RemoteError(BackupError):
    """What S3 or rclone refused, with the remedy first."""


class Remote:
    """The bucket."""

    def __init__(self, config: Config, s3: S3, patience: dict[str, str] | None = None) -> None:
        """Make rclone's configuration, which lives in the environment of its processes alone."""
        self.rclone, self.s3 = config.rclone, s3
        style = "false" if s3.uri_style == "host" else "true"
        self.env = {
            **(patience or PATIENCE),
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_STORE_TYPE": "s3",
            "RCLONE_CONFIG_STORE_PROVIDER": "Other",
            "RCLONE_CONFIG_STORE_ENDPOINT": s3.endpoint,
            "RCLONE_CONFIG_STORE_REGION": s3.region,
            "RCLONE_CONFIG_STORE_ACCESS_KEY_ID": s3.access_key,
            "RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY": config.secret("s3_secret"),
            "RCLONE_CONFIG_STORE_FORCE_PATH_STYLE": style,
            # It may neither make buckets nor look for them.
            "RCLONE_CONFIG_STORE_NO_CHECK_BUCKET": "true",
            **({"RCLONE_CA_CERT": s3.ca_file} if s3.ca_file else {}),
            "RCLONE_CONFIG_CRYPT_TYPE": "crypt",
            "RCLONE_CONFIG_CRYPT_REMOTE": f"store:{s3.bucket}/{DUMPS}",
            "RCLONE_CONFIG_CRYPT_FILENAME_ENCRYPTION": "off",
            "RCLONE_CONFIG_CRYPT_DIRECTORY_NAME_ENCRYPTION": "false",
        }
        obscured = command.run([self.rclone, "obscure", "-"], self.env, text=config.secret("passphrase")).strip()
        self.env["RCLONE_CONFIG_CRYPT_PASSWORD"] = obscured

    def place(self, folder: str, path: str = "") -> str:
        """Return rclone's name of a file; what is among the dumps goes through the encryption."""
        return f"crypt:{path}" if folder == DUMPS else f"store:{self.s3.bucket}/{folder}/{path}"

    def _explain(self, what: str, error: command.CommandError) -> RemoteError:
        for pattern, text in REASONS:
            if re.search(pattern, error.words, re.IGNORECASE):
                known = text.format(key=self.s3.access_key, bucket=self.s3.bucket, endpoint=self.s3.endpoint)
                return RemoteError(f"{what}: {known} ({_short(error.words)})")
        return RemoteError(f"{what}: {_short(error.words)}")

    def run(self, what: str, *words: str | Path, seconds: float | None = None) -> str:
        """Run rclone. Raises RemoteError."""
        try:
            return command.run([self.rclone, *words], self.env, seconds=seconds)
        except command.CommandError as error:
            raise self._explain(what, error) from None

    def listing(self, folder: str, seconds: float = 300) -> dict[str, int]:
        """Return path to size of all files of a folder. Raises RemoteError."""
        words = ["lsjson", "--recursive", "--files-only", "--no-modtime", "--no-mimetype", self.place(folder)]
        try:
            found = json.loads(command.run([self.rclone, *words], self.env, seconds=seconds))
        except command.CommandError as error:
            if error.code in NOT_THERE and "directory not found" in error.words:
                return {}
            raise self._explain(f"list {folder} in S3", error) from None
        return {each["Path"]: each["Size"] for each in found}

    def put(self, source: Path, folder: str, path: str) -> None:
        """Copy a file to S3. Raises RemoteError."""
        self.run(f"copy {source}", "copyto", "--ignore-times", source, self.place(folder, path))

    def get(self, folder: str, path: str, target: Path) -> None:
        """Copy a file from S3. Raises RemoteError."""
        self.run(f"fetch {path}", "copyto", self.place(folder, path), target)

    def text(self, folder: str, path: str, seconds: float | None = 60) -> str:
        """Return a small file. Raises RemoteError."""
        return self.run(f"read {path}", "cat", self.place(folder, path), seconds=seconds)

    def sha256(self, folder: str, path: str) -> str:
        """Read a file back and return its SHA-256, as it was before it was encrypted. Raises RemoteError."""
        digest = hashlib.sha256()
        try:
            with command.reading([self.rclone, "cat", self.place(folder, path)], self.env) as pieces:
                for piece in pieces:
                    digest.update(piece)
        except command.CommandError as error:
            raise self._explain(f"read {path} back", error) from None
        return digest.hexdigest()

    def delete(self, folder: str, path: str) -> None:
        """Delete a file; in a bucket with versions it is only hidden. Raises RemoteError."""
        self.run(f"delete {path}", "deletefile", self.place(folder, path))


def _short(words: str) -> str:
    """Return the last thing that rclone said, without its clock."""
    last = words.split("; ")[-1]
    return re.sub(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ", "", last)[-300:]
