"""Stage: Objectron's public bucket in, captures out: a video at a time, of which only some frames are kept.

Every video is downloaded, verified, decoded, reduced to the pictures that ``ingest`` takes, and deleted: a disk budget
holds, however much is fetched. What is there is not fetched again, so an interrupted run is gone on with.
"""

from trainer.fetch.plan import FetchConfig, Plan
from trainer.fetch.run import fetch, plan_of, summary

__all__ = ["FetchConfig", "Plan", "fetch", "plan_of", "summary"]
