# What the guest of boot.rs does, after guest.sh.

# A loop on a CPU is sampled: in two seconds 38 times, of which a machine that emulates may lose some.
is_sampled_on() {
    taskset -c "$1" sh -c 'while :; do :; done' &
    local busy=$! code=0
    until_true 180 has_samples "$busy" 20 || code=$?
    kill "$busy"
    wait "$busy" 2> /dev/null || true
    return "$code"
}

cd /src
sh -eu /steps/install
sh -eu /steps/paranoid
# No budget: what it sets anew when it changes the rate would hide what was lost with a CPU.
sed -i 's/^\[sampling\]$/&\nwindow = "5s"/; s/^\[budget\]$/&\ncpu_percent = 0/' /etc/flamekeeper/config.toml
printf '[[push]]\nurl = "http://127.0.0.1:9"\n' >> /etc/flamekeeper/config.toml
# Slow to start without hardware help; and the watchdog is to bite within the test.
mkdir -p /run/systemd/system/flamekeeper.service.d
printf '[Service]\nTimeoutStartSec=300\nTimeoutStopSec=120\nWatchdogSec=30\nRestartSec=1\n' \
    > /run/systemd/system/flamekeeper.service.d/slow.conf
systemctl daemon-reload
sh -eu /steps/start > /dev/null
started=$SECONDS
echo "VM: started $(systemctl is-active flamekeeper) by $(of_unit Type)"
pid=$(of_unit MainPID)
grep -E '^(Uid|CapBnd|NoNewPrivs|Seccomp):' "/proc/$pid/status" | tr '\t' ' ' | sed 's/^/VM: /'
until_true 180 has_windows 2
echo "VM: windows written"

# Processes of others are seen, and the kernel's functions have names.
until_true 180 has_samples 1 1
echo "VM: first process $(target 1 | grep -o '"executable":"[^"]*"')"
dd if=/dev/zero of=/dev/null bs=1 2> /dev/null &
get '/debug/pprof/profile?seconds=5' | gzip --decompress --stdout > /tmp/profile
kill %%
grep --quiet --text --extended-regexp 'ksys_read|vfs_read|read_zero|do_syscall_64' /tmp/profile && echo "VM: kernel named"

# A CPU goes and comes again: seen both times, and before anybody could look.
metric_is cpus_sampled 2 && echo "VM: both CPUs"
echo 0 > /sys/devices/system/cpu/cpu1/online
until_true 60 metric_is cpus_sampled 1
echo 1 > /sys/devices/system/cpu/cpu1/online
until_true 60 metric_is cpus_sampled 2
is_sampled_on 1 && echo "VM: CPU sampled again"
echo 0 > /sys/devices/system/cpu/cpu1/online
echo 1 > /sys/devices/system/cpu/cpu1/online
is_sampled_on 1 && echo "VM: CPU sampled again unseen"

sed -i 's/^window = "5s"/&\nrate = 23/' /etc/flamekeeper/config.toml
systemctl reload flamekeeper
until_true 60 metric_is sampling_rate_configured_hertz 23
echo "VM: reloaded $(same)"

# Twice the watchdog's time without anybody's help.
while [ $((SECONDS - started)) -lt 60 ]; do sleep 1; done
echo "VM: later $(systemctl is-active flamekeeper) $(same) restarts $(of_unit NRestarts)"
kill -STOP "$pid"
until_true 300 has_restarted
echo "VM: restarted, $(journal | grep -o -m 1 'Watchdog timeout')"
before=$(windows)
until_true 180 has_windows "$((before + 1))"
systemctl stop flamekeeper
echo "VM: stopped, $(of_unit Result)"
echo "VM: last words $(journal | grep -c 'message=ended')"
echo "VM: exposure $(systemd-analyze security --no-pager flamekeeper | tail -1 | grep -o '[0-9]\.[0-9]')"
sh -eu /steps/uninstall
echo "VM: uninstalled $(id flamekeeper > /dev/null 2>&1 || echo wholly)"
