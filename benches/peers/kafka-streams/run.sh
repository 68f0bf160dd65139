#!/usr/bin/env bash
# Runs skuflow and the Kafka Streams program on one broker that it starts itself, and prints the table.
#
#   run.sh [COMMAND [OPTION …]]     COMMAND and options are those of `cargo xtask peer`; without any: all
#   WORK=/tmp/skuflow-peer          where jars, logs and state are kept; some 10 GB
#
# Takes JDK 17, Maven, and a release build's time. On a machine with other work the figures are of no use.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
export WORK=${WORK:-/tmp/skuflow-peer}
port=${PORT:-39092}
export SERVERS=127.0.0.1:$port JARS=$WORK/kafka/libs
mkdir -p "$WORK/kafka" "$WORK/java"

fetch() { # jars of the broker, and of the program
    local at=$root/runtime/src/testing/kafka
    [ -d "$JARS" ] || mvn -q -B -f "$at/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$JARS"
    mvn -q -B -f "$here/pom.xml" -DbuildDirectory="$WORK/java/build" package dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$WORK/java/libs"
    cp "$WORK/java/build/kafka-streams-peer-1.jar" "$WORK/java/libs/"
}

start() {
    local at=$root/runtime/src/testing/kafka
    rm -rf "$WORK/kafka/data"
    sed -e "s#@DIR@#$WORK/kafka#; s#@BROKER@#$port#; s#@CONTROLLER@#$((port + 1))#; s#@LISTENERS@##; s#@PROTOCOLS@##" "$at/server.properties" >"$WORK/kafka/server.properties"
    local java=(java -Xms1g -Xmx1g -XX:+UseG1GC "-Dlog4j2.configurationFile=file:$at/log4j2.yaml" -cp "$JARS/*")
    # 16 bytes in base 64, with a first letter that no command takes for an option
    local id; id=s$(head -c 15 /dev/urandom | base64 | tr '+/' '-_')A
    "${java[@]}" kafka.tools.StorageTool format --standalone -t "$id" -c "$WORK/kafka/server.properties" \
        >"$WORK/kafka/format.log" 2>&1 || { tail -5 "$WORK/kafka/format.log"; exit 1; }
    "${java[@]}" kafka.Kafka "$WORK/kafka/server.properties" >"$WORK/kafka/server.log" 2>&1 &
    export BROKER_PID=$!
    trap 'kill $BROKER_PID; wait $BROKER_PID || true; rm -rf "$WORK/kafka/data"' EXIT
    until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        kill -0 $BROKER_PID || { tail "$WORK/kafka/server.log"; exit 1; }
        sleep 0.2
    done
}

fetch
(cd "$root" && cargo build --release --bin skuflow)
start
cd "$root"
cargo xtask peer "${@:-all}"
