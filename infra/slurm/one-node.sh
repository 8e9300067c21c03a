#!/bin/sh
# A Slurm queue of one node on the loopback interface, to try `--cluster slurm` without a cluster.
# Starting it needs no root.
#   sudo apt-get install --no-install-recommends slurm-wlm munge
#   infra/slurm/one-node.sh start DIR     prints the line that makes sbatch use it
#   infra/slurm/one-node.sh stop DIR
# A Slurm that is installed on the system is neither read nor changed.
set -eu
export PATH="$PATH:/usr/sbin:/sbin"
action=${1:?start or stop}
dir=$(realpath -m "${2:?a folder for its configuration, state and logs}")

stop() {
	for name in slurmd slurmctld munged; do
		if [ -s "$dir/$name.pid" ]; then kill "$(cat "$dir/$name.pid")" 2>/dev/null || true; fi
	done
}

start() {
	mkdir -p "$dir/state" "$dir/spool"
	chmod 700 "$dir"
	(umask 077 && head -c 1024 /dev/urandom > "$dir/munge.key")
	cores=$(nproc)
	memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
	cat > "$dir/slurm.conf" <<-CONF
		ClusterName=synthct
		SlurmctldHost=$(hostname -s)(127.0.0.1)
		SlurmctldPort=${SLURM_PORT:-26817}
		SlurmdPort=$((${SLURM_PORT:-26817} + 1))
		CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
		SlurmUser=$(id -un)
		SlurmdUser=$(id -un)
		AuthType=auth/munge
		AuthInfo=socket=$dir/munge.socket
		CredType=cred/munge
		ProctrackType=proctrack/linuxproc
		TaskPlugin=task/none
		JobAcctGatherType=jobacct_gather/none
		SelectType=select/cons_tres
		SelectTypeParameters=CR_Core_Memory
		SchedulerParameters=sched_interval=2,bf_interval=5
		ReturnToService=2
		StateSaveLocation=$dir/state
		SlurmdSpoolDir=$dir/spool
		SlurmctldPidFile=$dir/slurmctld.pid
		SlurmdPidFile=$dir/slurmd.pid
		SlurmctldLogFile=$dir/slurmctld.log
		SlurmdLogFile=$dir/slurmd.log
		NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory
		PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
	CONF
	munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" \
		--pid-file="$dir/munged.pid" --log-file="$dir/munged.log" --seed-file="$dir/munge.seed"
	export SLURM_CONF="$dir/slurm.conf"
	slurmctld -c
	slurmd
	for _ in $(seq 60); do
		if sinfo --noheader --states=idle 2>/dev/null | grep -q .; then
			echo "export SLURM_CONF=$dir/slurm.conf"
			return
		fi
		sleep 1
	done
	echo "the node is not idle after a minute: see $dir/slurmctld.log and $dir/slurmd.log" >&2
	stop
	exit 1
}

"$action"
