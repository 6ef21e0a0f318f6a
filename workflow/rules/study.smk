rule collect:
    """Gather the results of a study into Parquet tables."""
    input:
        collected,
    output:
        "results/studies/{study}/.made/{generation}.collected",
    shell:
        "{PYTHON} -m seqgrid.collect {wildcards.study} --stamp {output}"


rule report:
    """Write a study's report and figures from its tables alone."""
    input:
        "results/studies/{study}/.made/{generation}.collected",
    output:
        "results/studies/{study}/.made/{generation}.reported",
    shell:
        "{PYTHON} -m seqgrid.report results/studies/{wildcards.study} && touch {output}"


rule status:
    """Print the study as a matrix: what is finished, running, cut, failed and why, missing."""
    input:
        silently,
    shell:
        "{PYTHON} -m seqgrid.status {STUDY}"


rule controls:
    """Train the controls of all tasks, models whose verdict is known, and say which passed."""
    input:
        targets,
    shell:
        "{PYTHON} -m seqgrid.controls --show {STUDY}"
