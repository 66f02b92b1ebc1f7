# The whole DAG at a glance. Rules stand in workflow/rules by phase of work;
# which jobs there are and what they depend on is decided in workflow/planner.py.
from workflow.errors import plan_or_exit, told_by_snakemake
from workflow.outcome import print_failures, print_notices, print_outcome, write_recipe
from workflow.planner import judging_options


configfile: f"{workflow.basedir}/config/config.yaml"


report: "workflow/report/workflow.rst"


plan = plan_or_exit(config)


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/rounds.smk"
include: "workflow/rules/results.smk"


rule all:
    default_target: True
    input:
        plan.targets(),
    localrule: True


# The tables alone, to be looked at before anything is trained.
rule data:
    input:
        plan.tables(),
    localrule: True


# Every reward model that the recipe names, whether a phase scores with it or not.
rule reward_models:
    input:
        plan.reward_models(),
    localrule: True
