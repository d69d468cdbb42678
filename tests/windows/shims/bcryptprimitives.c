/* bcryptprimitives.dll's one function that Rust's standard library imports, for Wine 8, which has no such library. */
#include <windows.h>

#define RtlGenRandom SystemFunction036
BOOLEAN NTAPI RtlGenRandom(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length) {
    const SIZE_T largest = 1 << 30;
    while (length > 0) {
        const ULONG part = (ULONG)(length < largest ? length : largest);
        if (!RtlGenRandom(buffer, part)) {
            return FALSE;
        }
        buffer += part;
        length -= part;
    }
    return TRUE;
}
