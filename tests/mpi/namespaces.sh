#!/bin/sh
# Holds `vggkit bench --model` against a network: 4 ranks in network namespaces of this machine, whose lines carry so many megabits
# a second each way. For each rate it prints what of it sums of gradients get while nothing is computed (`bench --ranks` measures that),
# what a step takes, what the model says of that line, and by how many per cent it is off.
#
#   sudo tests/mpi/namespaces.sh [VGGKIT [MBIT/S...]]    a vggkit with MPI (target/release/vggkit), rates (100 250 500 1000)
#
# As root on Linux, with iproute2 (ip, tc), python3, and Open MPI; on a machine that does nothing else. NETWORK says what is trained
# (-d 11 -b 4), SECONDS_A_ROUND for how long, DELAY_MS by how much each line is late, for which the kernel needs netem. A step
# of one worker is measured while 3 others compute too, since all 4 share this machine's processors. Ends with 1 where a step is
# off by more than 10 %.
set -eu

vggkit=$(realpath "${1:-target/release/vggkit}")
test $# = 0 || shift
rates=${*:-100 250 500 1000}
network=${NETWORK:--d 11 -b 4}
seconds=${SECONDS_A_ROUND:-6}
delay=${DELAY_MS:-0}
ranks=4
bridge=vggkit-b

stop() { echo "$1" >&2; exit 1; }
test "$(uname -s)" = Linux || stop "Network namespaces are Linux's."
test "$(id -u)" = 0 || stop "Network namespaces are root's: run it by sudo."
for program in ip tc python3 mpirun unshare; do
	command -v $program >/dev/null || stop "Missing: $program (iproute2, python3, openmpi-bin, util-linux)"
done
test -x "$vggkit" || stop "No $vggkit: make mpi"

folder=$(mktemp -d)
clean() {
	for rank in $(seq $ranks); do ip netns del vggkit-$rank 2>/dev/null || true; done
	ip link del $bridge 2>/dev/null || true
	rm -rf "$folder"
}
trap clean EXIT
trap 'exit 1' INT TERM

# line DEVICE NAMESPACE-OR-NOTHING RATE: what a device sends in a second, with all headers.
line() {
	${2:+ip netns exec "$2"} tc qdisc replace dev "$1" root handle 1: tbf rate "$3"mbit burst 64kb latency 10ms
	test "$delay" = 0 || ${2:+ip netns exec "$2"} tc qdisc replace dev "$1" parent 1: netem delay "$delay"ms limit 100000 ||
		stop "This kernel delays nothing (sch_netem): leave DELAY_MS out."
}

ip link add $bridge type bridge
ip addr add 10.77.7.254/24 dev $bridge
ip link set $bridge up
for rank in $(seq $ranks); do
	ip netns add vggkit-$rank
	ip link add vggkit-v$rank type veth peer name line netns vggkit-$rank
	ip link set vggkit-v$rank master $bridge up
	ip netns exec vggkit-$rank ip addr add 10.77.7.$rank/24 dev line
	ip netns exec vggkit-$rank ip link set line up
	ip netns exec vggkit-$rank ip link set lo up
	# The one that every Linux has, so that figures of two machines are of the same.
	ip netns exec vggkit-$rank sh -c 'echo reno >/proc/sys/net/ipv4/tcp_congestion_control'
done

# What mpirun starts its daemons by, in place of ssh: each namespace is a machine with a name.
cat >"$folder/agent" <<'AGENT'
#!/bin/sh
rank=${1##*.}
shift
exec ip netns exec vggkit-"$rank" unshare --uts sh -c "hostname vggkit-$rank; $*"
AGENT
chmod +x "$folder/agent"
hosts=$(seq -s , -f 10.77.7.%g:1 $ranks)
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
mpirun="mpirun --mca plm_rsh_agent $folder/agent --mca plm rsh -H $hosts --mca btl tcp,self --mca pml ob1 \
--mca btl_tcp_if_include 10.77.7.0/24 --mca oob_tcp_if_include 10.77.7.0/24"

# One worker's step, by itself but for the processors.
step() {
	for rank in $(seq $ranks); do
		# shellcheck disable=SC2086 # flags are words
		"$vggkit" bench --engine cpu --threads 1 --mode train $network --seconds "$seconds" --json >"$folder/step$rank.json" &
	done
	wait
}

echo "$(uname -sr), $(nproc) processors, $(mpirun --version | head -n 1), $("$vggkit" --version), vggkit bench $network, delay $delay ms"
printf '%8s %8s %8s %8s %10s %10s %8s %10s %10s %10s\n' Mbit/s 'of it' us 'one ms' predicted measured off waited 'of model' 'sent MB'
worst=0
for rate in $rates; do
	for rank in $(seq $ranks); do
		line vggkit-v$rank '' "$rate"
		line line vggkit-$rank "$rate"
	done
	step
	# shellcheck disable=SC2086
	"$vggkit" bench --ranks $ranks --mpirun "$mpirun" --engine cpu --threads 1 $network --seconds "$seconds" --json >"$folder/ranks.json"
	"$vggkit" bench --model "$folder/step1.json" --link "$folder/ranks.json" --json >"$folder/model.json"
	python3 - "$folder" "$rate" <<'ROW' || worst=1
import json, sys
folder, rate = sys.argv[1:]
model = json.load(open(f"{folder}/model.json"))["networks"][0]
line = model["lines"][0]
predicted = next(at for at in line["workers"] if at["workers"] == 4)
measured = json.load(open(f"{folder}/ranks.json"))["ranks"][0]
off = measured["step_seconds"] / predicted["seconds"] - 1
milliseconds = [1e3 * seconds for seconds in (model["step_seconds"], predicted["seconds"], measured["step_seconds"])]
print(f"{rate:>8} {1e3 * line['gbps']:8.0f} {1e6 * measured['link']['latency']:8.0f}",
      "{:8.0f} {:10.0f} {:10.0f}".format(*milliseconds), f"{100 * off:+7.1f}%",
      f"{1e3 * measured['waited_seconds']:10.0f} {1e3 * predicted['waited']:10.0f}",
      f"{measured['bytes_per_step'] / 1e6:10.1f}", flush=True)
sys.exit(abs(off) > 0.1)
ROW
done
exit $worst
