"""Workers on a Slurm cluster, by dask-jobqueue: change the words in capitals, then run it.

    pip install "distributed>=2025.7" dask-jobqueue
    python slurm_workers.py

It submits one job a worker, prints the scheduler's address and runs until Ctrl-C. In another shell:

    python launcher.py reconstruct DAYS/*.h5 -o TOMOGRAMS --scheduler ADDRESS
"""

import time

from dask_jobqueue import SLURMCluster

LIVETOMO = "/SHARED/livetomo"  # the checkout, on a disk that all nodes have
JOBS = 8
CORES = 8  # of each worker

if __name__ == "__main__":
    with SLURMCluster(
        queue="GPU_QUEUE",
        account="ACCOUNT",
        walltime="08:00:00",
        cores=1,  # threads of Dask: a worker makes one range of scans at a time
        processes=1,
        memory="32GB",
        job_cpu=CORES,
        job_extra_directives=["--gres=gpu:1"],  # one GPU a worker; leave it out without GPUs
        python=f"{LIVETOMO}/.venv/bin/python",
        job_script_prologue=[
            f"export PYTHONPATH={LIVETOMO}",
            f"export OMP_NUM_THREADS={CORES}",
        ],
    ) as cluster:
        cluster.scale(jobs=JOBS)
        print(f"--scheduler {cluster.scheduler_address}", flush=True)
        while True:
            time.sleep(60)
