#!/bin/sh
# Time the networks of this folder on an Android device that `adb devices` lists, with the runtime's own benchmark program,
# built for that device. Then times.json is written from what it printed.
#
#   sh time_adb.sh BENCHMARK [NAME]        BENCHMARK: the program's file here; NAME: the device's, for people
#
# By environment: ROUNDS (5), PASSES (20), THREADS (1), LIBRARIES (files that the program loads, pushed beside it),
# ADB (adb; "adb -s SERIAL" for one of several devices), PLACE (/data/local/tmp/gemnet, on the device).
set -eu
RUNTIME='@runtime@' ENDING='@ending@' HEIGHT=@height@ WIDTH=@width@

[ $# -ge 1 ] || { echo "usage: sh time_adb.sh BENCHMARK [NAME]" >&2; exit 2; }
[ -f "$1" ] || { echo "time_adb.sh: $1: no such file; name the benchmark of $RUNTIME, built for the device" >&2; exit 1; }
cd "$(dirname "$0")" || exit 1
case "$1" in /*) program=$1 ;; *) program=$OLDPWD/$1 ;; esac
adb=${ADB:-adb} place=${PLACE:-/data/local/tmp/gemnet}
rounds=${ROUNDS:-5} passes=${PASSES:-20} threads=${THREADS:-1}
tool=$place/$(basename "$program")

told() { # the command that times the file $1 on the device
  case $RUNTIME in
    onnx) echo "$tool -I -m times -r $passes -x $threads -f batch:1 $1" ;;
    litert) echo "$tool --graph=$1 --num_threads=$threads --num_runs=$passes" ;;
    executorch) echo "$tool --model_path=$1 --num_executions=$passes --cpu_threads=$threads" ;;
    ncnn) echo "$tool $passes $threads 0 -1 0 param=$1 shape=[$WIDTH,$HEIGHT,3]" ;;
    openvino) echo "$tool -m $1 -api sync -hint none -niter $passes -nthreads $threads -shape [1,3,$HEIGHT,$WIDTH]" ;;
    *) echo "time_adb.sh: no benchmark of $RUNTIME is known; use time_models.py" >&2; exit 1 ;;
  esac
}

told nothing >/dev/null
$adb shell "mkdir -p $place"
$adb push "$program" "$tool" >/dev/null
$adb shell "chmod 755 $tool"
for library in ${LIBRARIES:-}; do $adb push "$library" "$place/" >/dev/null; done
rm -rf logs
mkdir logs
round=1
while [ "$round" -le "$rounds" ]; do
  for file in *"$ENDING"; do
    name=${file%"$ENDING"}
    if [ "$round" -eq 1 ]; then
      for part in "$name".*; do $adb push "$part" "$place/" >/dev/null; done
    fi
    if ! $adb shell "cd $place && LD_LIBRARY_PATH=$place $(told "$place/$file")" >"logs/$name.$round.txt" 2>&1 </dev/null; then
      echo "time_adb.sh: $file: the benchmark failed on the device; it said, in logs/$name.$round.txt:" >&2
      tail -n 3 "logs/$name.$round.txt" >&2
      exit 1
    fi
  done
  echo "round $round of $rounds"
  round=$((round + 1))
done
python3 time_models.py --from-logs logs --threads "$threads" --passes "$passes" --device "${2:-$($adb shell getprop ro.product.model)}"
