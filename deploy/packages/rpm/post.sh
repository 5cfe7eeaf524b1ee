# Whether a service starts with the host is what the distribution's presets say.
if [ "$1" -eq 1 ]; then
    systemctl --no-reload preset flamekeeper.service >/dev/null 2>&1 || :
fi
