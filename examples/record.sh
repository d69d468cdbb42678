#!/usr/bin/env bash
# Records traffic.pcapng: real programs in two network namespaces, joined by one veth pair.
#
# Needs root and: iproute2 ethtool nginx-light dnsmasq-base curl dnsutils iputils-ping socat python3 tshark.
# Leaves nothing behind: namespaces, servers and temporary files go when it ends, however it ends.
set -euo pipefail

output=${1:-"$(dirname "$0")/traffic.pcapng"}
client=oxidivert-client server=oxidivert-server
work=$(mktemp -d)
servers=()

clean_up() {
    for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    ip netns del "$client" 2>/dev/null || true
    ip netns del "$server" 2>/dev/null || true
    rm -rf "$work" "/etc/netns/$client"
    rmdir /etc/netns 2>/dev/null || true
}
trap clean_up EXIT

on_client() { ip netns exec "$client" "$@"; }
start_on() { # NAMESPACE COMMAND...: a server, stopped at the end
    ip netns exec "$1" "${@:2}" >"$work/log" 2>&1 &
    servers+=($!)
}

# --- two hosts: clients in private ranges, servers in the ranges for documentation -------------------------------
mkdir -p "/etc/netns/$client"
echo "nameserver 198.51.100.53" >"/etc/netns/$client/resolv.conf"
ip netns add "$client"
ip netns add "$server"
ip link add uplink netns "$client" address 00:00:5e:00:53:01 type veth \
    peer name uplink netns "$server" address 00:00:5e:00:53:02
for host in "$client" "$server"; do
    # Without these the kernel leaves checksums to hardware that a veth pair has not, and captures show unfinished sums.
    ip netns exec "$host" ethtool -K uplink tx off rx off tso off gso off gro off >/dev/null
    ip -n "$host" link set lo up
    ip -n "$host" link set uplink up
done
for n in 11 12 13 14; do
    ip -n "$client" address add "192.168.7.$n/24" dev uplink
    ip -n "$client" address add "fd00:7::$n/64" dev uplink nodad
done
for n in 10 20 53; do
    ip -n "$server" address add "198.51.100.$n/24" dev uplink
    ip -n "$server" address add "2001:db8:100::$n/64" dev uplink nodad
done
ip -n "$client" route add 198.51.100.0/24 dev uplink
ip -n "$client" route add 2001:db8:100::/64 dev uplink
ip -n "$server" route add 192.168.7.0/24 dev uplink
ip -n "$server" route add fd00:7::/64 dev uplink

# --- servers ------------------------------------------------------------------------------------------------------
mkdir "$work/www"
sentence='The quick brown fox jumps over the lazy dog.'
fill() { yes "$sentence" 2>/dev/null | head -c "$1" || true; }
fill 1800 >"$work/www/index.html"
fill 5200 >"$work/www/style.css"
fill 16000 >"$work/www/report.txt"
fill 300 >"$work/www/status.txt"
cat >"$work/nginx.conf" <<CONF
daemon off;
pid $work/nginx.pid;
error_log $work/nginx.log;
events {}
http {
    access_log off;
    server_tokens off;
    types { text/html html; text/css css; text/plain txt; }
    server {
        listen 198.51.100.10:80;
        listen [2001:db8:100::10]:80;
        root $work/www;
        location /api/ { default_type application/json; return 200 '{"ok": true, "path": "\$uri"}\n'; }
        location /old/ { return 302 /index.html; }
    }
}
CONF
chmod 755 "$work"
start_on "$server" nginx -c "$work/nginx.conf"
start_on "$server" python3 -m http.server 8080 --bind 198.51.100.20 --directory "$work/www"
start_on "$server" dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file --user=root --no-resolv --no-hosts \
    --bind-interfaces --listen-address=198.51.100.53,2001:db8:100::53 --local=/example.com/ \
    --host-record=www.example.com,198.51.100.10,2001:db8:100::10 --host-record=app.example.com,198.51.100.20 \
    --cname=old.example.com,www.example.com --txt-record=example.com,"v=spf1 -all"
start_on "$server" socat -b 65536 UDP4-RECVFROM:7007,bind=198.51.100.10,fork EXEC:/bin/cat
start_on "$server" socat -b 65536 "UDP6-RECVFROM:7007,bind=[2001:db8:100::10],fork" EXEC:/bin/cat

# --- record -------------------------------------------------------------------------------------------------------
# Classic pcap first: it has no place for the names of this machine's system, processor and programs.
ip netns exec "$client" dumpcap -q -i uplink -P -w "$work/recorded.pcap" 2>/dev/null &
recorder=$!
sleep 2

fetch() { on_client curl --silent --output /dev/null "$@" || true; }
for round in 1 2 3; do
    for n in 11 12 13 14; do
        bearer="Authorization: Bearer fake-bearer-$n-$round-0123456789abcdef"
        query="token=fake-query-$n-$round-abcdef"
        fetch --interface "192.168.7.$n" -4 -H "$bearer" \
            "http://www.example.com/api/items?page=$round&$query" -o /dev/null http://www.example.com/index.html
        fetch --interface "192.168.7.$n" -H "$bearer" "http://app.example.com:8080/status.txt?$query"
        fetch --interface "fd00:7::$n" -6 -H "$bearer" "http://www.example.com/api/users/$n?$query"
    done
    on_client ping -q -c 3 -i 0.2 -I "192.168.7.1$round" 198.51.100.10 >/dev/null
    on_client ping -q -c 3 -i 0.2 -I "fd00:7::1$round" 2001:db8:100::10 >/dev/null
done
fetch --interface 192.168.7.11 http://www.example.com/style.css -o /dev/null http://www.example.com/report.txt
fetch --interface 192.168.7.12 http://app.example.com:8080/style.css
fetch --interface fd00:7::13 -6 http://www.example.com/style.css
fetch --interface 192.168.7.13 -L http://old.example.com/old/page -o /dev/null http://www.example.com/missing
fetch --interface 192.168.7.14 --data '{"name": "fox"}' http://www.example.com/api/items
fetch --interface 192.168.7.14 http://www.example.com:81/ # nobody listens: a reset

ask() { on_client dig +tries=1 +time=1 "$@" >/dev/null || true; }
for name in www.example.com old.example.com app.example.com missing.example.com; do
    ask -b 192.168.7.12 @198.51.100.53 "$name" A
    ask -b fd00:7::12 @2001:db8:100::53 "$name" AAAA
done
ask +tcp @198.51.100.53 example.com TXT
ask -p 5300 @198.51.100.20 www.example.com A # nobody listens: ICMP port unreachable
ask -p 5300 @2001:db8:100::20 www.example.com A

fill 4000 | on_client socat -b 65536 -t 0.5 - UDP4:198.51.100.10:7007,bind=192.168.7.11 >/dev/null
fill 4000 | on_client socat -b 65536 -t 0.5 - "UDP6:[2001:db8:100::10]:7007,bind=[fd00:7::11]" >/dev/null
on_client ping -q -c 1 -s 3000 -I 192.168.7.14 198.51.100.10 >/dev/null

sleep 1
kill "$recorder"
wait "$recorder"
editcap -F pcapng "$work/recorded.pcap" "$work/recorded.pcapng"
# The section header's options (all that editcap adds: its own version and build) go; the other blocks stay as they are.
python3 - "$work/recorded.pcapng" "$output" <<'PYTHON'
import struct, sys

recorded = open(sys.argv[1], "rb").read()
header_len = struct.unpack_from("=I", recorded, 4)[0]
with open(sys.argv[2], "wb") as output:
    output.write(recorded[:4] + struct.pack("=I", 28) + recorded[8:24] + struct.pack("=I", 28) + recorded[header_len:])
PYTHON

# --- check: every checksum that tshark can judge is right ----------------------------------------------------------
wrong=$(tshark -r "$output" -o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE -o udp.check_checksum:TRUE \
    -Y 'ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 ||
        icmp.checksum.status == 0 || icmpv6.checksum.status == 0' 2>/dev/null)
if [[ -n $wrong ]]; then
    printf 'wrong checksums:\n%s\n' "$wrong" >&2
    exit 1
fi
