#!/bin/bash
# Everything that is to be seen on one GPU, in three parts of at most nine minutes each:
#
#   bash bench/gpu.sh 1 OUT    all notebooks as tests, 20 epochs of MOSEI's twin, ten seeds
#   bash bench/gpu.sh 2 OUT    a training step of CARAT and of every peer
#   bash bench/gpu.sh 3 OUT    Table 1 at full size on the twin
#
# It needs no network and no installation: bench/README.md says which packages it looks for.
cd "$(dirname "$0")/.." || exit 1
[ -x .venv/bin/python ] && own=.venv/bin/python

export STUDY=${STUDY:-table1}             # a study with a store called twin
export DEVICE=${DEVICE:-cuda}             # cpu tries the script where there is no GPU
export WORK=${WORK:-/tmp/carat-gpu}       # stores and run folders, which are not copied back
export WHEELS=${WHEELS:-}                 # a folder with wheels of packages that are missing
export QUICK=${QUICK:-}                   # 1: tiny sizes, a minute
export DRY=${DRY:-}                       # 1: print the commands and run none
export PYTHONPATH=$PWD PYTHONUTF8=1 PYTHONUNBUFFERED=1 MPLBACKEND=Agg
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "${PYTHON:-${own:-python3}}" bench/gpu.py "$@"
