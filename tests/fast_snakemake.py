"""`snakemake` whose SLURM executor looks every half a second, not every 20 to 180 s: for tests."""

import sys

import snakemake_executor_plugin_slurm as plugin
from snakemake.cli import main

check = plugin.Executor.check_active_jobs


async def check_active_jobs(self, active_jobs):
    async for job in check(self, active_jobs):
        yield job
    self.next_seconds_between_status_checks = 0.5


plugin.Executor.check_active_jobs = check_active_jobs
sys.exit(main())
