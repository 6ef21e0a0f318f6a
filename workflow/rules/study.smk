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
        # What `snakemake --report` shows: of this generation, so that no later run changes it.
        page=report(
            "results/studies/{study}/.made/{generation}.report.html",
            caption="../report/page.rst",
            category="Report",
            labels={"study": "{study}", "what": "all sections"},
        ),
        figures=report(
            directory("results/studies/{study}/.made/{generation}.figures"),
            patterns=["{name}.svg"],
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{name}"},
        ),
        tables=report(
            directory("results/studies/{study}/.made/{generation}.tables"),
            patterns=["{name}.csv"],
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "{name}"},
        ),
        stamp="results/studies/{study}/.made/{generation}.reported",
    shell:
        "{PYTHON} -m seqgrid.report results/studies/{wildcards.study}"
        " --copy {output.page} {output.figures} {output.tables} && touch {output.stamp}"


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
