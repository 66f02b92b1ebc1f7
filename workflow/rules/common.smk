# Names that wildcards may take. Rounds start at 1: round 0 is the policy before a phase, it has
# an evaluation and nothing else, and no rule of a round can claim the base policy's files.
wildcard_constraints:
    phase=r"[a-z][a-z0-9_]*",
    round=r"[1-9]\d*",
    evaluated=r"\d+",
    also=r"[a-z][a-z0-9_]*",
    name=r"[a-z][a-z0-9_]*",
    table=r"[a-z][a-z0-9_.]*",
    shard=r"\d+",
    shards=r"\d+",


onstart:
    with told_by_snakemake():
        write_recipe(plan)
    print_notices(plan)


onsuccess:
    print_outcome(plan)


onerror:
    print_failures(plan)
