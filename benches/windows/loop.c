/* The loop that WinDivert's documentation recommends, in plain C: batches of packets, each sent back as it came.
 * Built as a library and called from bench_windows.py, over the same WinDivert.dll and driver as the others. */
#include <stdint.h>
#include <windows.h>

#define BATCH_MAX 255
#define ADDRESS_SIZE 80
#define BUFFER_SIZE (128 * 1024)

typedef HANDLE (*open_function)(const char *filter, int layer, INT16 priority, UINT64 flags);
typedef BOOL (*receive_function)(HANDLE, void *, UINT, UINT *, UINT64, void *, UINT *, OVERLAPPED *);
typedef BOOL (*send_function)(HANDLE, const void *, UINT, UINT *, UINT64, const void *, UINT, OVERLAPPED *);

static receive_function receive_batch;
static send_function send_batch;

/* Loads the functions; the handle of a filter. */
__declspec(dllexport) HANDLE loop_open(const wchar_t *library, const char *filter) {
    HMODULE module = LoadLibraryW(library);
    open_function open = (open_function)(void *)GetProcAddress(module, "WinDivertOpen");
    receive_batch = (receive_function)(void *)GetProcAddress(module, "WinDivertRecvEx");
    send_batch = (send_function)(void *)GetProcAddress(module, "WinDivertSendEx");
    return open(filter, 0, 0, 0);
}

/* Receives and sends for some time, up to so many packets a call; how many packets, 0 if a call failed. */
__declspec(dllexport) UINT64 loop_run(HANDLE handle, UINT milliseconds, UINT batch) {
    static uint8_t buffer[BUFFER_SIZE], addresses[BATCH_MAX * ADDRESS_SIZE];
    const ULONGLONG end = GetTickCount64() + milliseconds;
    UINT64 count = 0;
    while (GetTickCount64() < end) {
        UINT length = 0, addresses_size = batch * ADDRESS_SIZE;
        if (!receive_batch(handle, buffer, sizeof buffer, &length, 0, addresses, &addresses_size, NULL)) {
            return 0;
        }
        if (!send_batch(handle, buffer, length, NULL, 0, addresses, addresses_size, NULL)) {
            return 0;
        }
        count += addresses_size / ADDRESS_SIZE;
    }
    return count;
}
