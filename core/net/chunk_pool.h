/* chunk_pool: blocks of 64 KiB for outboxes, whose memory goes back to the system when they are
 * free.
 *
 * From malloc() they would lie between small objects that stay, and a burst of slow consumers would
 * keep its gigabytes resident for good. Here a free block keeps its address and loses its pages.
 *
 * Any thread. One pool per process; what is reserved of the address space is never given back. */
#ifndef CORE_NET_CHUNK_POOL_H
#define CORE_NET_CHUNK_POOL_H

#define CHUNK_POOL_BLOCK 65536u /* bytes */

/* CHUNK_POOL_BLOCK bytes, aligned to a page, of any content. NULL without memory. */
void *chunk_pool_take(void);
void chunk_pool_give(void *block);

#endif
