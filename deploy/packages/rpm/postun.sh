systemctl daemon-reload >/dev/null 2>&1 || :
if [ "$1" -ge 1 ]; then
    systemctl try-restart flamekeeper.service >/dev/null 2>&1 || :
else
    # Folders that are the package's alone; what still holds something of the administrator's stays.
    rmdir /etc/flamekeeper /usr/share/doc/flamekeeper /usr/share/licenses/flamekeeper 2>/dev/null || :
fi
