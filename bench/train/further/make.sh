#!/bin/bash
# Data for training fulgur-mini further, from the repository's root:
#
#   bash bench/train/further/make.sh runs/further DRAWN
#
# DRAWN: percent of the documents of the published run. Needs texts/prose.txt (books that are trained on), texts/words.txt,
# texts/gloss.jsonl, texts/stories.jsonl. Draws in seventeen processes at a time.
set -e
out=$1
share=${2:-100}
fulgur=${FULGUR:-node dist/cli/main.js}
mkdir -p "$out"/{exercises,direct,far,farthest,near}
draw() { # NAME DOCUMENTS SEQUENCE SEEDS
  for seed in $(seq 1 "$4"); do
    $fulgur tokenise --data "bench/train/further/$1.json" --draw $(($2 * share / 100)) --sequence "$3" --seed "further-$seed" \
      --out "$out/$1" >"$out/$1-$seed.log" 2>&1 &
  done
}
draw far 560 8192 8
draw farthest 300 8192 2
draw exercises 40000 2048 5
draw direct 60000 2048 1
draw near 12000 2048 1
wait
cat "$out"/*.log | tr '\r' '\n' | grep documents
