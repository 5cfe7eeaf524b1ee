# What the guest of packaged.rs does, after guest.sh: the package's whole life.

of_config() { grep -c "^# Ours" /etc/flamekeeper/config.toml; }
# Of a hundred user stacks, those that have all their frames. Kernel threads and processes at their end have none.
whole() {
    get /metrics | grep -v -e '"kernel_thread"' -e '"no_user_memory"' |
        awk '/^flamekeeper_stacks_total\{/ { all += $2 } /"root_reached"/ { whole += $2 }
        END { print (all > 100 ? int(100 * whole / all) : 0) }'
}

# Slow to start without hardware help.
mkdir -p /etc/systemd/system/flamekeeper.service.d
printf '[Service]\nTimeoutStartSec=300\nTimeoutStopSec=120\n' > /etc/systemd/system/flamekeeper.service.d/slow.conf
dpkg --install /packages/this.deb
echo "VM: installed $(systemctl is-active flamekeeper) $(systemctl is-enabled flamekeeper)"
echo "VM: paranoid $(cat /proc/sys/kernel/perf_event_paranoid)"
pid=$(of_unit MainPID)
grep -E '^(CapBnd|NoNewPrivs|Seccomp):' "/proc/$pid/status" | tr '\t' ' ' | sed 's/^/VM: /'

# A program without frame pointers: perl in perl, from its main to the operators.
perl -e 'sub inner { my $x = 0; $x += $_ for 1 .. 1000 } sub outer { inner() for 1 .. 1000 } outer() while 1' &
busy=$!
until_true 180 has_samples "$busy" 100
get '/debug/pprof/profile?seconds=10' | gzip --decompress --stdout > /tmp/profile
grep --quiet --text Perl_runops_standard /tmp/profile && echo "VM: perl named"
share=$(whole)
get /metrics | sed -n 's/^flamekeeper_stacks_total/LOG: stacks /p'
kill "$busy"
echo "VM: of a hundred stacks $share"
[ "$share" -ge 95 ] && echo "VM: stacks whole"

echo '# Ours.' >> /etc/flamekeeper/config.toml
dpkg --force-confold --install /packages/next.deb
echo "VM: upgraded $(systemctl is-active flamekeeper) $([ "$(of_unit MainPID)" = "$pid" ] && echo same || echo new) process, ours $(of_config)"

dpkg --remove flamekeeper
echo "VM: removed $(systemctl is-active flamekeeper || true), $(pgrep -c -x flamekeeper || true) processes, ours $(of_config)"
[ -d /var/lib/flamekeeper ] && echo "VM: state kept"
dpkg --purge flamekeeper
[ -e /var/lib/flamekeeper ] || [ -e /var/cache/flamekeeper ] || [ -e /etc/flamekeeper ] || echo "VM: purged wholly"
