# What the scripts share.

# A server on a port, and a connection to it that stays (descriptor 10).
serve() {
    nc -ll -p "$1" -e cat &
    until netstat -ant | grep -q ":$1 .*LISTEN"; do sleep 0.2; done
    eval "exec 10<>/dev/tcp/127.0.0.1/$1"
    sleep 1
}

# REAL, OURS, REAL: the same output, the same errors and the same status; taken again where the
# reference does not agree with itself. WITH is put before both commands.
same() {
    local try status
    for try in $(seq 1 20); do
        # The connection that stays is not theirs.
        $WITH netstat "$@" 10>&- >/tmp/before 2>/tmp/before-errors && status=0 || status=$?
        echo "status $status" >>/tmp/before
        $WITH netstat-bpf "$@" 10>&- >/tmp/got 2>/tmp/got-errors && status=0 || status=$?
        echo "status $status" >>/tmp/got
        $WITH netstat "$@" 10>&- >/tmp/after 2>/tmp/after-errors && status=0 || status=$?
        echo "status $status" >>/tmp/after
        if ! cmp -s /tmp/before /tmp/after || ! cmp -s /tmp/before-errors /tmp/after-errors; then
            continue
        fi
        if cmp -s /tmp/before /tmp/got && cmp -s /tmp/before-errors /tmp/got-errors; then
            echo "same: $*, $(wc -l </tmp/got) lines, status $status"
            return 0
        fi
        echo "differs: $*"
        diff /tmp/before /tmp/got || :
        diff /tmp/before-errors /tmp/got-errors || :
        return 1
    done
    echo "the reference never said the same twice: $*"
    diff /tmp/before /tmp/after || :
    diff /tmp/before-errors /tmp/after-errors || :
    return 1
}

# The first round of -c has the rows of the reference, and stderr says that it is read from /proc.
# Taken again where the reference does not agree with itself: sockets of earlier scripts leave
# TIME_WAIT for a minute.
rescans() {
    local try wait live
    for try in $(seq 1 30); do
        netstat -ant | tail -n +3 | sort >/tmp/before
        $WITH netstat-bpf -c -ant >/tmp/got 2>/tmp/got-errors &
        live=$!
        # Two rounds: then the first is whole. It is watched for a minute.
        for wait in $(seq 1 300); do
            test "$(grep -c ^Active /tmp/got)" -lt 2 || break
            sleep 0.2
        done
        kill $live
        netstat -ant | tail -n +3 | sort >/tmp/after
        ! cmp -s /tmp/before /tmp/after || break
    done
    cmp /tmp/before /tmp/after
    cat /tmp/got-errors
    test "$(grep -c 'every round reads /proc' /tmp/got-errors)" = 1
    # Each round begins with its heading.
    awk '/^Active/ { n++ } n == 1' /tmp/got | tail -n +3 | sort | cmp /tmp/before -
}

# log fails, with one line that contains these words.
no_log() {
    if $WITH netstat-bpf log >/tmp/got 2>/tmp/got-errors; then
        echo "log works here"
        return 1
    fi
    cat /tmp/got-errors
    test "$(wc -l </tmp/got-errors)" = 1
    grep -q "$1" /tmp/got-errors
}
