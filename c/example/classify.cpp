// What classify.c does, in C++.
#include <cstdio>
#include <iostream>
#include <releq.hpp>

static void print(const std::vector<float> &output, std::size_t size)
{
    for (std::size_t i = 0; i < output.size(); i++)
        std::printf("%.9g%c", output[i], (i + 1) % size ? ' ' : '\n');
}

int main(int argc, char **argv)
try {
    if (argc < 2)
        throw releq::Error("usage: classify_cpp MODEL.rq");
    const releq::Model model(argv[1]);
    releq::Session session(model);
    std::vector<std::uint8_t> pixels(2 * session.input_size());
    for (std::size_t i = 0; i < pixels.size(); i++)
        pixels[i] = static_cast<std::uint8_t>(i * 37 % 256);
    print(session.run(std::vector<float>(pixels.begin(), pixels.end())), session.output_size());
    session.set_pixels();
    print(session.run(pixels), session.output_size());
} catch (const releq::Error &error) {
    std::cerr << error.what() << '\n';
    return 2;
}
