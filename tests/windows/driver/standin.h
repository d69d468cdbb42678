/* A stand-in for WinDivert64.sys, for tests under Wine: it answers the requests of WinDivert's own library and has further ones
 * by which tests play the network. It runs in Wine's driver host, which calls it from one thread only. */
#ifndef STANDIN_H
#define STANDIN_H

#include <ddk/ntddk.h>

#define ADDRESS_SIZE 80
#define BATCH_MAX 255

#define READ_WRITE (FILE_READ_DATA | FILE_WRITE_DATA)
#define REQUEST(number, method, access) CTL_CODE(FILE_DEVICE_NETWORK, number, method, access)

/* The requests of the library. */
#define REQUEST_INITIALIZE REQUEST(0x921, METHOD_OUT_DIRECT, READ_WRITE)
#define REQUEST_STARTUP REQUEST(0x922, METHOD_IN_DIRECT, READ_WRITE)
#define REQUEST_RECEIVE REQUEST(0x923, METHOD_OUT_DIRECT, FILE_READ_DATA)
#define REQUEST_SEND REQUEST(0x924, METHOD_IN_DIRECT, READ_WRITE)
#define REQUEST_SET_PARAM REQUEST(0x925, METHOD_IN_DIRECT, READ_WRITE)
#define REQUEST_GET_PARAM REQUEST(0x926, METHOD_OUT_DIRECT, FILE_READ_DATA)
#define REQUEST_SHUTDOWN REQUEST(0x927, METHOD_IN_DIRECT, READ_WRITE)

/* The requests of tests; tests/windows/standin.py knows the same numbers and structures. */
#define TEST_FEED REQUEST(0x9F0, METHOD_BUFFERED, READ_WRITE)
#define TEST_LIST REQUEST(0x9F1, METHOD_BUFFERED, READ_WRITE)
#define TEST_STARTUP REQUEST(0x9F2, METHOD_BUFFERED, READ_WRITE)
#define TEST_SENT REQUEST(0x9F3, METHOD_BUFFERED, READ_WRITE)
#define TEST_FAIL REQUEST(0x9F4, METHOD_BUFFERED, READ_WRITE)
#define TEST_CANCELS REQUEST(0x9F5, METHOD_BUFFERED, READ_WRITE)
#define TEST_OPTIONS REQUEST(0x9F6, METHOD_BUFFERED, READ_WRITE)
#define TEST_RETURNED REQUEST(0x9F7, METHOD_BUFFERED, READ_WRITE)
#define TEST_RESET REQUEST(0x9F8, METHOD_BUFFERED, READ_WRITE)

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

/* A packet or event with its address, in a queue or a log. */
typedef struct packet {
    LIST_ENTRY entry;
    u32 size;
    u8 address[ADDRESS_SIZE];
    u8 data[1];
} packet;

/* Bytes that tests ask for. */
typedef struct blob {
    u8 *data;
    u32 size;
} blob;

/* How a handle behaves: TEST_OPTIONS. */
enum {
    OPTION_ECHO = 1,         /* what is sent comes back on the same handle */
    OPTION_NO_LOG = 2,       /* what is sent is not kept */
    OPTION_HOLD_CANCELS = 4, /* a cancelled read stays pending until TEST_CANCELS */
};

enum { STATE_NEW, STATE_INITIALIZED, STATE_OPEN, STATE_CLOSING };

/* An open handle. */
typedef struct handle {
    LIST_ENTRY entry;
    LIST_ENTRY queue;
    LIST_ENTRY reads;
    LIST_ENTRY held;
    LIST_ENTRY sent;
    u64 number;
    HANDLE process;
    u64 process_id;
    u64 flags;
    u64 params[3];
    u64 sent_count;
    u64 received_count;
    u32 layer;
    u32 priority;
    u32 queued;
    u32 pending;
    u32 state;
    u32 options;
    int has_ended_receiving;
    int has_ended_sending;
    blob initialize;
    blob startup;
} handle;

/* A request that is to fail: TEST_FAIL. */
typedef struct failure {
    u32 request; /* 0x921 to 0x927 */
    NTSTATUS status;
    u32 count;
} failure;

#define FAILURES_MAX 8

typedef struct world {
    LIST_ENTRY handles;
    LIST_ENTRY returned; /* what closed handles gave back */
    u64 opened;
    u32 default_options;
    failure failures[FAILURES_MAX];
} world;

extern world the_world;

/* Wine's ntoskrnl leaves these to the program's own library. */
int NTAPI WriteProcessMemory(HANDLE process, PVOID to, const void *from, SIZE_T size, SIZE_T *done);
int NTAPI ReadProcessMemory(HANDLE process, const void *from, PVOID to, SIZE_T size, SIZE_T *done);
HANDLE NTAPI OpenProcess(ULONG access, int inherit, ULONG id);
int NTAPI QueryPerformanceCounter(LARGE_INTEGER *ticks);

/* queue.c */
u32 packet_size(const u8 *data, u32 size);
packet *new_packet(const u8 *data, u32 size, const u8 *address);
void free_packets(LIST_ENTRY *list);
void enqueue(handle *handle, packet *packet);
void serve(handle *handle);
void complete(IRP *irp, NTSTATUS status, ULONG_PTR size);
void cancel_reads(handle *handle);
void release_held(handle *handle, int with_data);
NTSTATUS add_read(handle *handle, IRP *irp);
u8 *direct_buffer(IRP *irp, u32 *size);
void keep(blob *blob, const u8 *first, u32 first_size, const u8 *second, u32 second_size);

/* requests.c */
NTSTATUS answer(handle *handle, u32 code, IRP *irp, ULONG_PTR *size);

/* control.c */
int is_test_request(u32 code);
NTSTATUS control(u32 code, IRP *irp, u32 in_size, u32 out_size, ULONG_PTR *size);
NTSTATUS planned_failure(u32 code);

#endif
