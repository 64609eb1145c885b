/* A 32-bit program without a C library: makes the old system calls with 16-bit ids and the newer ones, and says what came of it. */
typedef unsigned int u32;
typedef unsigned short u16;

static int sys(int nr, u32 a, u32 b, u32 c)
{
	int r;
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory");
	return r;
}

static void put(const char *what, int v)
{
	char buf[80];
	int n = 0, neg = v < 0, i;
	char digits[12];
	u32 u = neg ? -(u32)v : (u32)v;
	while (*what)
		buf[n++] = *what++;
	buf[n++] = ' ';
	if (neg)
		buf[n++] = '-';
	for (i = 0; i == 0 || u; u /= 10)
		digits[i++] = '0' + u % 10;
	while (i)
		buf[n++] = digits[--i];
	buf[n++] = '\n';
	sys(4, 1, (u32)buf, n);
}

static u32 stat64[24], stat32[16];
static u16 list16[4] = {9, 8, 7}, r16, e16, s16;
static u32 list32[4];
static const char name[] = "made", dir[] = "dir", dev[] = "dev", big[] = "big";

void _start(void)
{
	put("getuid", sys(24, 0, 0, 0));
	put("getuid32", sys(199, 0, 0, 0));
	put("creat", sys(8, (u32)name, 0644, 0));
	put("chown", sys(182, (u32)name, 5, 6));
	put("stat64", sys(195, (u32)name, (u32)stat64, 0));
	put("uid", stat64[6]);
	put("gid", stat64[7]);
	put("mode", stat64[4]);
	put("chown keeps", sys(182, (u32)name, 0xffff, 7));
	put("stat", sys(106, (u32)name, (u32)stat32, 0));
	put("uid", stat32[3] & 0xffff);
	put("gid", stat32[3] >> 16);
	put("chown32", sys(212, (u32)name, 100000, 7));
	put("stat", sys(106, (u32)name, (u32)stat32, 0));
	put("overflow uid", stat32[3] & 0xffff);
	put("mkdir", sys(39, (u32)dir, 0500, 0));
	put("mknod", sys(14, (u32)dev, 020600, 0x103));
	put("setgroups", sys(81, 3, (u32)list16, 0));
	put("getgroups32", sys(205, 4, (u32)list32, 0));
	put("first", list32[0]);
	put("setregid", sys(71, 33, 34, 0));
	put("setresuid", sys(164, 44, 45, 0xffff));
	put("getresuid", sys(165, (u32)&r16, (u32)&e16, (u32)&s16));
	put("real", r16);
	put("effective", e16);
	put("saved", s16);
	put("setuid", sys(23, 99, 0, 0));
	put("open", sys(5, (u32)big, 0101, 0640) > 2);
	put("access", sys(33, (u32)dir, 2, 0));
	sys(252, 0, 0, 0);
}
