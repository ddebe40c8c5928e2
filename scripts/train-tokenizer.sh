#!/bin/sh
# Trains models/tokenizer, the vocabulary that the default models share. Needs the texts; give their folder.
set -eu
data=${1:-../shared/assets}
out=${2:-models/tokenizer}
node dist/cli/main.js tokenizer train --kind bpe --vocab 4096 --held-out 0.02 -o "$out" --begin '<|endoftext|>' \
  --special-token '<|endoftext|>' --special-token '<|pad|>' --special-token '<|mask|>' \
  --special-token '<|im_start|>' --special-token '<|im_end|>' \
  --special-token '<|fim_prefix|>' --special-token '<|fim_middle|>' --special-token '<|fim_suffix|>' \
  --file "$data/data/tinystories-val-part/tinystories_dedup.txt.gz" \
  --file "$data/text/tinystories_new/tinystories_mines.txt.gz" \
  --file "$data/text/tinystories_new/tinystories_crib.txt" \
  --file "$data/text/african_storybook/african_storybook.txt.gz" \
  --file "$data/text/pratham_storyweaver/pratham_storyweaver.txt.gz" \
  --file "$data/text/fairytaleqa/fairytaleqa.txt.gz" \
  --file "$data/text/hcandersenr/hcandersenr.txt.gz" \
  --file "$data/text/fairytales_misc/nltk_bryant-stories.txt" \
  --file "$data/text/fairytales_misc/nltk_burgess-busterbrown.txt" \
  --file "$data/text/pd_children_gutenberg_b/pd_children_gutenberg_b.txt.gz"
