rule train:
    """Train the first part of a cell."""
    output:
        "results/cells/{cell}/part1/checkpoint.pt",
        "results/cells/{cell}/part1/history.parquet",
        "results/cells/{cell}/part1/outcome.json",
    resources:
        runtime=runtime,
        mem_mb=mem_mb,
    shell:
        "{PYTHON} -m seqgrid.train results/cells/{wildcards.cell} --part 1"
        " --asked {resources.runtime} {resources.mem_mb}"


def part_before(wildcards):
    return f"results/cells/{wildcards.cell}/part{int(wildcards.part) - 1}/checkpoint.pt"


rule resume:
    """Train the next part of a cell from the checkpoint of the part before."""
    input:
        part_before,
    output:
        "results/cells/{cell}/part{part}/checkpoint.pt",
        "results/cells/{cell}/part{part}/history.parquet",
        "results/cells/{cell}/part{part}/outcome.json",
    resources:
        runtime=runtime,
        mem_mb=mem_mb,
    shell:
        "{PYTHON} -m seqgrid.train results/cells/{wildcards.cell} --part {wildcards.part}"
        " --asked {resources.runtime} {resources.mem_mb}"


rule evaluate:
    """Score the weights of a part on test examples."""
    input:
        "results/cells/{cell}/part{any_part}/checkpoint.pt",
    output:
        "results/cells/{cell}/part{any_part}/evaluation-{evaluation}.parquet",
    resources:
        runtime=runtime,
        mem_mb=mem_mb,
    shell:
        "{PYTHON} -m seqgrid.evaluate results/cells/{wildcards.cell}/part{wildcards.any_part}"
        " --as {wildcards.evaluation}"
