"""What follows what? Recipes: whole chains of stages in a YAML file; suites: grids of runs; what both will cost.

    description: TEXT
    with: {base: HuggingFaceTB/SmolLM2-135M-Instruct, questions: 2000}   # values: $base, $questions; $seed is 0
    jobs: 2            # stages at a time [default: 1]
    threads: 1         # CPU threads of a stage [default: left alone]
    every:             # options of every stage of a command; a stage's own take their place, null takes out
      collect: {task: apples, seed: $seed}
      train: {optimizer: muon, seed: $seed}
      train sft: {steps: 1000}                # nearer than `train`
    stages:            # name -> what to do; in an order in which they could be done
      gold:    {do: collect, gold: true, limit: $questions}
      student: {do: train sft, on: $gold, base: $base}
      samples: {do: collect, model-args: {pretrained: $student}, samples: 4}
      labels:  {do: label, on: $samples, model-args: {pretrained: $student}}
      sorm:    {do: train sorm, on: [$labels], base: $student}
      grid:    {do: run, tasks: apples, critic: sorm, sorm-model: $sorm, refiner: [global, local]}
    assume: {solution_tokens: 120}            # for the estimates of --dry-run, see `estimates`

A stage does `collect`, `label`, `train NAME` or `run`; `on` is what stands after these words, everything else an option
of the command, typed as in a suite (see `suites`), but `true` and `false` are for flags only. `$name` is a
value of `with`, or the output folder of a stage further up; `${name}` is the same where letters follow or the name has
a hyphen, `$$` is a dollar. Where an output goes, the recipe says itself: a folder or a model to WORK/STAGE, the records
of a `run` to WORK/results/runs, by the stage's name unless it has a `name`, and all generations to the one store in
WORK/results. The `suite` of a `run` is a path from the recipe's own folder; other paths are as if typed.

`files` reads and checks recipes, `work` knows what is there and what is stale, `making` runs stages as processes,
`estimates` says what they will cost.
"""
