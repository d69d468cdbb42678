/* Sends 64-byte UDP packets to 127.0.0.1 for a time, as fast as they go, and counts those that arrive.
 *
 *   sender PORT SECONDS   prints: packets sent, packets received, seconds
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { AT_ONCE = 32, LENGTH = 36 };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int count, char **arguments)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static char packet[LENGTH], room[AT_ONCE][LENGTH];
    struct mmsghdr sent[AT_ONCE], received[AT_ONCE];
    struct iovec vectors[AT_ONCE], rooms[AT_ONCE];
    int in = socket(AF_INET, SOCK_DGRAM, 0), out = socket(AF_INET, SOCK_DGRAM, 0), buffer = 1 << 26;
    long long packets = 0, arrived = 0;
    double seconds = count > 2 ? atof(arguments[2]) : 1, start, end;
    address.sin_port = htons(count > 1 ? atoi(arguments[1]) : 7000);
    setsockopt(in, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
    if (bind(in, (struct sockaddr *)&address, sizeof address) || connect(out, (struct sockaddr *)&address, sizeof address)) {
        perror("sender");
        return 1;
    }
    for (int i = 0; i < AT_ONCE; i++) {
        vectors[i] = (struct iovec){packet, LENGTH};
        rooms[i] = (struct iovec){room[i], LENGTH};
        sent[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &vectors[i], .msg_iovlen = 1}};
        received[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &rooms[i], .msg_iovlen = 1}};
    }
    start = now();
    while ((end = now()) - start < seconds) {
        int number = sendmmsg(out, sent, AT_ONCE, 0);
        packets += number > 0 ? number : 0;
        while ((number = recvmmsg(in, received, AT_ONCE, MSG_DONTWAIT, NULL)) > 0)
            arrived += number;
    }
    /* What is still on its way. */
    for (double last = now(); now() - last < 0.2;) {
        int number = recvmmsg(in, received, AT_ONCE, MSG_DONTWAIT, NULL);
        if (number > 0) {
            arrived += number;
            last = now();
        }
    }
    printf("%lld %lld %f\n", packets, arrived, end - start);
    return 0;
}
