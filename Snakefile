"""seqgrid: grids of sequence models on memory tasks. `snakemake -n` shows what is missing."""

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


localrules:
    all,
    collect,
    report,
    status,
    controls,


rule all:
    """Whatever the study lacks: training, evaluation, tables and report."""
    input:
        targets,


include: "workflow/rules/cells.smk"
include: "workflow/rules/study.smk"


onstart:
    # A look at the grid, without the profile of the run that fills it, prepares nothing for that.
    if set(workflow.dag_settings.targets) != {"status"}:
        PREPARE(restarts=workflow.execution_settings.retries)


onerror:
    # Jobs that could not even speak must not keep the others' results from the report.
    shell(f"{PYTHON} -m seqgrid.collect {STUDY} && {PYTHON} -m seqgrid.report {FOLDER}")
