/* The yardstick: a loop over a packet queue with recvmmsg and one verdict for all packets of a round, and nothing else.
 *
 *   loop QUEUE   binds the queue, says "ready", and accepts everything until it is killed
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { AT_ONCE = 64, ROOM = 70000 };

struct config { struct nlmsghdr frame; struct nfgenmsg family; char attributes[64]; };
struct verdict { struct nlmsghdr frame; struct nfgenmsg family; struct nlattr attribute; struct nfqnl_msg_verdict_hdr header; };

static int queue;

/* Sends one attribute, or twice the same value under the next two numbers, as flags and their mask want it. */
static void configure(int fd, uint16_t kind, uint16_t other, const void *value, uint16_t length)
{
    struct config request = {.frame = {.nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG,
                                       .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
                             .family = {.nfgen_family = AF_UNSPEC, .res_id = htons(queue)}};
    struct nlattr *attribute = (struct nlattr *)request.attributes;
    char answer[4096];
    attribute->nla_type = kind;
    attribute->nla_len = NLA_HDRLEN + length;
    memcpy(attribute + 1, value, length);
    request.frame.nlmsg_len = sizeof request.frame + sizeof request.family + NLA_ALIGN(attribute->nla_len);
    if (other) {
        attribute = (struct nlattr *)((char *)attribute + NLA_ALIGN(attribute->nla_len));
        attribute->nla_type = other;
        attribute->nla_len = NLA_HDRLEN + length;
        memcpy(attribute + 1, value, length);
        request.frame.nlmsg_len += NLA_ALIGN(attribute->nla_len);
    }
    if (send(fd, &request, request.frame.nlmsg_len, 0) < 0 || recv(fd, answer, sizeof answer, 0) < 0
        || ((struct nlmsgerr *)NLMSG_DATA((struct nlmsghdr *)answer))->error) {
        perror("configuring the queue");
        exit(1);
    }
}

int main(int count, char **arguments)
{
    static char room[AT_ONCE][ROOM];
    struct mmsghdr messages[AT_ONCE];
    struct iovec vectors[AT_ONCE];
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    struct nfqnl_msg_config_cmd bind_command = {.command = NFQNL_CFG_CMD_BIND};
    struct nfqnl_msg_config_params parameters = {.copy_range = htonl(0xFFFF), .copy_mode = NFQNL_COPY_PACKET};
    uint32_t flags = htonl(NFQA_CFG_F_GSO), length = htonl(81920);
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER), one = 1, buffer = 1 << 25;
    queue = count > 1 ? atoi(arguments[1]) : 0;
    bind(fd, (struct sockaddr *)&address, sizeof address);
    configure(fd, NFQA_CFG_CMD, 0, &bind_command, sizeof bind_command);
    configure(fd, NFQA_CFG_PARAMS, 0, &parameters, sizeof parameters);
    configure(fd, NFQA_CFG_FLAGS, NFQA_CFG_MASK, &flags, sizeof flags);
    configure(fd, NFQA_CFG_QUEUE_MAXLEN, 0, &length, sizeof length);
    setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
    puts("ready");
    fflush(stdout);
    for (;;) {
        for (int i = 0; i < AT_ONCE; i++) {
            vectors[i] = (struct iovec){room[i], ROOM};
            messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &vectors[i], .msg_iovlen = 1}};
        }
        int received = recvmmsg(fd, messages, AT_ONCE, MSG_WAITFORONE, NULL), last = -1;
        for (int i = 0; i < received; i++)
            if (((struct nlmsghdr *)room[i])->nlmsg_type == (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET))
                last = i;
        if (last < 0)
            continue;
        /* It answers every packet up to this one. */
        struct nlattr *attribute =
            (struct nlattr *)((char *)NLMSG_DATA((struct nlmsghdr *)room[last]) + sizeof(struct nfgenmsg));
        struct verdict verdict = {
            .frame = {.nlmsg_len = sizeof verdict, .nlmsg_flags = NLM_F_REQUEST,
                      .nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT_BATCH},
            .family = {.res_id = htons(queue)},
            .attribute = {.nla_len = NLA_HDRLEN + sizeof verdict.header, .nla_type = NFQA_VERDICT_HDR},
            .header = {.verdict = htonl(NF_ACCEPT), .id = ((struct nfqnl_msg_packet_hdr *)(attribute + 1))->packet_id}};
        send(fd, &verdict, sizeof verdict, 0);
    }
}
