/* Sends 64-byte UDP packets to 127.0.0.1 for a time, and counts those that arrive.
 *
 *   sender PORT SECONDS             as fast as they go
 *   sender PORT SECONDS turns N     N at once, and N more when all of them have arrived
 *   sender PORT SECONDS bursts PID  in bursts: a burst gathers while the process is stopped, then the process goes on, and only
 *                                   the time counts from there until all packets have arrived or none comes any more. So it is
 *                                   the process that is measured, also where sender and process share two processors
 *
 *   prints: packets sent, packets received, seconds
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { AT_ONCE = 32, LENGTH = 36, BURST = 4096 };

/* How long a packet may take at most, in seconds, and pauses, in nanoseconds: until a stopped process rests, and between looks
 * at what has arrived, which disturb it. */
static const double PATIENCE = 0.2;
static const struct timespec REST = {0, 1000000}, LOOK = {0, 100000};

static struct mmsghdr sent[AT_ONCE], received[AT_ONCE];
static int in, out;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int prepare(int port)
{
    static char packet[LENGTH], room[AT_ONCE][LENGTH];
    static struct iovec vectors[AT_ONCE], rooms[AT_ONCE];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int buffer = 1 << 26;
    in = socket(AF_INET, SOCK_DGRAM, 0);
    out = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(in, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
    for (int i = 0; i < AT_ONCE; i++) {
        vectors[i] = (struct iovec){packet, LENGTH};
        rooms[i] = (struct iovec){room[i], LENGTH};
        sent[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &vectors[i], .msg_iovlen = 1}};
        received[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &rooms[i], .msg_iovlen = 1}};
    }
    return bind(in, (struct sockaddr *)&address, sizeof address) || connect(out, (struct sockaddr *)&address, sizeof address);
}

static int send_some(int count)
{
    int number = sendmmsg(out, sent, count < AT_ONCE ? count : AT_ONCE, 0);
    return number > 0 ? number : 0;
}

static int take_all(void)
{
    int taken = 0, number;
    while ((number = recvmmsg(in, received, AT_ONCE, MSG_DONTWAIT, NULL)) > 0)
        taken += number;
    return taken;
}

/* With `turn`, so many packets are under way at most. */
static void flood(double seconds, long long turn)
{
    long long packets = 0, arrived = 0;
    double start = now(), end;
    while ((end = now()) - start < seconds) {
        if (!turn)
            packets += send_some(AT_ONCE);
        else if (packets == arrived)
            packets += send_some(turn);
        arrived += take_all();
    }
    /* What is still on its way. */
    for (double last = now(); now() - last < PATIENCE;) {
        int number = take_all();
        if (number > 0) {
            arrived += number;
            last = now();
        }
    }
    printf("%lld %lld %f\n", packets, arrived, end - start);
}

static void burst(double seconds, pid_t process)
{
    long long packets = 0, arrived = 0;
    int buffer = 1 << 26;
    double spent = 0;
    /* What waits in the queue counts as not sent yet, so that an ordinary buffer would end a burst early. */
    setsockopt(out, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
    while (spent < seconds) {
        double start, last;
        kill(process, SIGSTOP);
        nanosleep(&REST, NULL);
        for (int number = 0; number < BURST;)
            number += send_some(BURST - number);
        packets += BURST;
        start = last = now();
        kill(process, SIGCONT);
        while (arrived < packets && now() - last < PATIENCE) {
            int number = take_all();
            if (number > 0) {
                arrived += number;
                last = now();
            } else
                nanosleep(&LOOK, NULL);
        }
        spent += last - start;
    }
    printf("%lld %lld %f\n", packets, arrived, spent);
}

int main(int count, char **arguments)
{
    if (count < 3 || prepare(atoi(arguments[1]))) {
        perror("sender");
        return 1;
    }
    if (count > 4 && !strcmp(arguments[3], "bursts"))
        burst(atof(arguments[2]), atoi(arguments[4]));
    else
        flood(atof(arguments[2]), count > 4 ? atoll(arguments[4]) : 0);
    return 0;
}
